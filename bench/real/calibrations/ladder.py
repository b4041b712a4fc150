"""Calibrates the ready cascade of SmolLM2-135M below Qwen2.5-Coder 0.5B and 1.5B.

The tiers have two tokenizers and templates. The sample is made of the short questions with known
answers, and `cascadia calibrate` does the rest. Its calibrations and thresholds go into
`examples/`. An interrupted run goes on where it stopped.

Example:
    python -m bench.real.calibrations.ladder --tiny PATH --small PATH --large PATH
    python -m bench.real.calibrations.ladder --smoke   # the demo's models; writes nothing
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import yaml

from bench import ROOT
from bench.real.question_sets import MAX_TOKENS, Question, question_set
from cascadia_sglang.calibration.calibrate_cascade import CalibrationResult, calibrate
from cascadia_sglang.errors import CascadiaError
from cascadia_sglang.judge.calibration import load_calibration, save_calibration
from demo.tasks.families import MAX_ANSWER_TOKENS
from demo.tasks.splits import sample

EXAMPLE = ROOT / "examples" / "smollm2-qwen2.5-coder-24gb.yaml"
CALIBRATIONS = EXAMPLE.parent / "smollm2-qwen2.5-coder"
CACHE = Path(__file__).parents[1] / "cache" / "ladder"
TIERS = ("tiny", "small", "large")
DEMO = {"tiny": "demo/models/small", "small": "demo/models/middle", "large": "demo/models/large"}
SET = "short"
QUESTIONS, SMOKE_QUESTIONS, SMOKE_SEED = 300, 150, 84_000
MAX_LOSS = 0.05
CONCURRENCY = 16
# A pool for the whole context would take gigabytes of a host's memory.
SERVER_FLAGS = ("--max-total-tokens", "32768")
_THRESHOLDS = re.compile(r"(?<=^  thresholds: )\[.*\]$", re.MULTILINE)
_CALIBRATION = re.compile(r"(- name: (\w+)\n    model_path: .*\n    calibration: ).*")


def sample_lines(questions: Iterable[Question]) -> str:
    """The questions as a sample for `cascadia calibrate`, a line each."""
    lines = (
        {
            "id": question.id,
            "messages": question.messages,
            "reference": question.answers,
            "group": question.kind,
        }
        for question in questions
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


def demo_lines(count: int) -> str:
    """The same of questions that the demo's models can answer."""
    lines = (
        {"id": f"demo-{index}", "prompt": row.prompt, "reference": row.answer, "label": "exact"}
        for index, row in enumerate(sample("test", SMOKE_SEED, count))
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


def calibrated(
    paths: Mapping[str, str], lines: str, max_tokens: int, folder: Path
) -> CalibrationResult:
    """Calibrate the example's cascade with the models of these folders.

    Args:
        lines: the sample.
        max_tokens: of an answer.
        folder: keeps what is recorded, and all results.

    Raises:
        CascadiaError: one line; what is recorded stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cascade, data = folder / "cascade.yaml", folder / "sample.jsonl"
    settings = yaml.safe_load(EXAMPLE.read_text())
    for tier in settings["tiers"]:
        tier["model_path"] = str(Path(paths[tier["name"]]).resolve())
        tier.pop("calibration", None)
    cascade.write_text(yaml.safe_dump(settings, sort_keys=False))
    data.write_text(lines)
    return calibrate(
        cascade,
        data=data,
        out=folder,
        max_loss=MAX_LOSS,
        max_tokens=max_tokens,
        concurrency=CONCURRENCY,
        server_flags=SERVER_FLAGS,
    )


def into_example(text: str, thresholds: Sequence[float]) -> str:
    """The example's file with the calibrations of its folder, and these thresholds."""
    listed = ", ".join(f"{threshold:.6g}" for threshold in thresholds)
    text = _THRESHOLDS.sub(f"[{listed}]", text)
    return _CALIBRATION.sub(rf"\1{CALIBRATIONS.name}/\2.json", text)


def keep(thresholds: Sequence[float], folder: Path) -> None:
    """Put the results of a folder into the examples.

    The files name no model: whoever uses them has other files of the same weights.
    """
    CALIBRATIONS.mkdir(exist_ok=True)
    for tier in TIERS[:-1]:
        fitted = load_calibration(folder / f"{tier}.json")
        save_calibration(msgspec.structs.replace(fitted, model=None), CALIBRATIONS / f"{tier}.json")
    EXAMPLE.write_text(into_example(EXAMPLE.read_text(), thresholds))


def main() -> None:
    """Calibrate, print what it came to, and put it into the examples."""
    parser = argparse.ArgumentParser(description="Calibrate the example of two tokenizers.")
    for tier in TIERS:
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument(
        "--questions", type=int, default=QUESTIONS, help="of the sample; default: %(default)s"
    )
    parser.add_argument("--smoke", action="store_true", help="the demo's models; writes nothing")
    args = parser.parse_args()
    paths = DEMO if args.smoke else {tier: getattr(args, tier) for tier in TIERS}
    if not all(paths.values()):
        parser.error("--tiny, --small and --large are needed: folders of models")
    if args.smoke:
        lines, max_tokens = demo_lines(SMOKE_QUESTIONS), MAX_ANSWER_TOKENS
    else:
        lines, max_tokens = sample_lines(question_set(SET, args.questions)), MAX_TOKENS[SET]
    begin_s = time.monotonic()
    with tempfile.TemporaryDirectory() as smoke_folder:
        folder = Path(smoke_folder) if args.smoke else CACHE
        try:
            result = calibrated(paths, lines, max_tokens, folder)
        except CascadiaError as error:
            raise SystemExit(str(error)) from error
        if not args.smoke:
            keep(result.thresholds, folder)
    print("\n".join(result.lines))
    minutes = (time.monotonic() - begin_s) / 60
    print(f"{len(lines.splitlines())} questions, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
