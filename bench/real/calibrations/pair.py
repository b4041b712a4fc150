"""Fits the calibration of the two Qwen models in `examples/` to their recorded answers.

All questions with a known answer are taken, and divided as `cascadia calibrate` divides a sample.

Example:
    python -m bench.real.calibrations.pair   # writes into examples/qwen2.5-coder/
    python -m bench.real.calibrations.pair --smoke   # writes nothing
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import ROOT
from bench.real.answers import StoredAnswer, load_answers
from bench.real.judge_quality import MODELS
from bench.real.question_sets import Question
from bench.real.recorded_pool import recorded_pool, recorded_questions
from cascadia_sglang.calibration.fit.calibrate import Settings, calibrate_parts
from cascadia_sglang.calibration.fit.split import split_sample
from cascadia_sglang.calibration.fit.thresholds import Target
from cascadia_sglang.calibration.report.output import summary, write
from cascadia_sglang.calibration.report.report import examine
from cascadia_sglang.config.cascade_file import read_cascade
from cascadia_sglang.config.routing_settings import RoutingConfig

CASCADE = ROOT / "examples" / "qwen2.5-coder-24gb.yaml"
CALIBRATIONS = CASCADE.parent / "qwen2.5-coder"
# The last tier accepts whatever it answers, and needs no score.
FILES = ("small.json", "report.md", "report.svg")
MAX_LOSS = 0.05


def mean_seconds(
    questions: Sequence[Question], stored: Sequence[StoredAnswer]
) -> tuple[float, float]:
    """Of an answer of each model, as it was recorded, under the load of the recording."""
    ids = {question.id for question in questions}
    seconds: dict[str, list[float]] = {model: [] for model in MODELS}
    for answer in stored:
        if answer.id in ids and answer.model in seconds and answer.temperature == 0.0:
            seconds[answer.model].append(answer.seconds)
    small, large = (sum(values) / len(values) for values in seconds.values())
    return small, large


def fit(
    questions: Sequence[Question], stored: Sequence[StoredAnswer], folder: Path
) -> Iterator[str]:
    """Fit, and write every file into an existing folder; yields what a reader should know."""
    # The models lie elsewhere, so the file cannot be loaded whole.
    names = tuple(tier["name"] for tier in read_cascade(CASCADE).data["tiers"])
    parts = split_sample(recorded_pool(questions, stored, MODELS))
    settings = Settings(
        tier_names=names,
        tier_cost=mean_seconds(questions, stored),
        target=Target(kind="loss", value=MAX_LOSS),
        early_abort=RoutingConfig().early_abort,
    )
    fitted = calibrate_parts(parts, settings)
    yield from write(examine(fitted, parts, "auto"), parts, folder)
    yield from summary(fitted)


def main() -> None:
    """Fit, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few questions, and nothing is kept")
    is_smoke = parser.parse_args().smoke
    stored = load_answers()
    questions = [q for q in recorded_questions(stored, MODELS) if q.set != "free"]
    if is_smoke:
        questions = [question for question in questions if question.set == "short"][::4]
    with tempfile.TemporaryDirectory() as folder:
        for line in fit(questions, stored, Path(folder)):
            print(line)
        if not is_smoke:
            for name in FILES:
                shutil.copy(Path(folder) / name, CALIBRATIONS)


if __name__ == "__main__":
    main()
