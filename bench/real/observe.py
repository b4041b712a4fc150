"""Records what both models answer to every question, as `cascadia calibrate` records it.

The models are served by a cascade of their own, one tier after the other is asked, and the answers
come with the judge's features. An interrupted run goes on where it stopped.

Example:
    python -m bench.real.observe --small PATH --large PATH   # writes bench/real/records.jsonl
    python -m bench.real.observe --smoke                     # the demo's models; writes nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.real.checker import is_right
from bench.real.observed import RECORDS, TIERS, packed
from bench.real.questions import MAX_TOKENS, MIX_SIZE, MIXES, SEED, RealQuestion, questions
from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.calibration.record.session import RecordingSettings, recorded
from cascadia_sglang.config.cascade_file import load_uncalibrated

CACHE = Path(__file__).parent / "cache"
CONCURRENCY = 8
SMOKE_MIX_SIZE = 2
DEMO = {"small": "demo/models/small", "large": "demo/models/large"}


def sample_lines(questions: Sequence[RealQuestion]) -> str:
    """The questions as a sample for `cascadia calibrate`, a line each."""
    lines = (
        {"id": q.id, "messages": q.messages, "reference": q.answers[0], "group": q.family}
        for q in questions
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


def observe(
    questions: Sequence[RealQuestion], paths: dict[str, str], folder: Path
) -> list[list[Record]]:
    """Both tiers' answers, in the order of the questions; what `folder` holds is not asked again.

    Raises:
        CascadiaError: if the server does not start, or is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cascade, data = folder / "cascade.json", folder / "questions.jsonl"
    tiers = [{"name": tier, "model_path": paths[tier]} for tier in TIERS]
    cascade.write_text(json.dumps({"version": 1, "tiers": tiers}))
    data.write_text(sample_lines(questions))
    settings = RecordingSettings(
        data=data,
        out=folder,
        label="agreement",
        max_tokens=MAX_TOKENS,
        concurrency=CONCURRENCY,
    )
    # Every question is asked, however few: nothing is fitted here.
    records_of_tiers = recorded(settings, load_uncalibrated(cascade), lambda _keys: None).records
    if any(len(tier_records) != len(questions) for tier_records in records_of_tiers):
        raise SystemExit(
            f"{len(records_of_tiers[0])} of {len(questions)} questions were answered; run it again"
        )
    return records_of_tiers


def tell(questions: Sequence[RealQuestion], records_of_tiers: Sequence[Sequence[Record]]) -> None:
    """Print the share of right answers of every mix and family, a line each."""
    right = np.array(
        [
            [is_right(r.text, q.answers) for q, r in zip(questions, tier_records, strict=True)]
            for tier_records in records_of_tiers
        ]
    )
    for mix in MIXES:
        families = [None, *sorted({q.family for q in questions if q.mix == mix})]
        for family in families:
            which = [q.mix == mix and family in (None, q.family) for q in questions]
            shares = [
                f"{t} {tier_right[which].mean():.3f}"
                for t, tier_right in zip(TIERS, right, strict=True)
            ]
            print(f"{mix} {family or 'together'}: {', '.join(shares)}, n {sum(which)}")


def main() -> None:
    """Record, print the accuracies and write the records."""
    parser = argparse.ArgumentParser(description="Records the answers of two real models.")
    for tier in TIERS:
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument("--seed", type=int, default=SEED, help="other than the benches': not kept")
    parser.add_argument("--mix-size", type=int, default=MIX_SIZE, help="questions a mix")
    parser.add_argument("--folder", type=Path, default=CACHE, help="what is recorded so far")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    args = parser.parse_args()
    if args.smoke:
        real_questions = questions(mix_size=SMOKE_MIX_SIZE)
        with tempfile.TemporaryDirectory() as folder:
            tell(real_questions, observe(real_questions, DEMO, Path(folder)))
        return
    if not (args.small and args.large):
        parser.error("--small and --large are needed: folders of two models of one tokenizer")
    real_questions = questions(args.seed, args.mix_size)
    records_of_tiers = observe(
        real_questions, {"small": args.small, "large": args.large}, args.folder
    )
    tell(real_questions, records_of_tiers)
    if (args.seed, args.mix_size) == (SEED, MIX_SIZE):
        lines = [
            msgspec.json.encode(packed(record))
            for tier_records in records_of_tiers
            for record in tier_records
        ]
        RECORDS.write_bytes(b"\n".join(lines) + b"\n")


if __name__ == "__main__":
    main()
