"""Fits the ladder's second judges: what the middle and the large tier make of drafts.

    python -m bench.ladder.second_judges

As `cascadia calibrate` does it where drafts are read, for the scores and thresholds that the demo
has: its server records what every tier makes of the answer before. Only the calibration split is
used, the questions that fitted and chose those; what was recorded is kept outside git.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.calibration.pool import CACHE, chunk_rows
from bench.harness.load import MAX_NEW_TOKENS
from bench.ladder.export import LADDER
from bench.ladder.fit import CASCADE, SPLIT, TIER_COST, settings
from cascadia_sglang.calibration.calibrate import CalibratedCascade, certified, check_parts
from cascadia_sglang.calibration.output import second_judges, write_second_judges
from cascadia_sglang.calibration.pool import Pool
from cascadia_sglang.calibration.replay import CascadeReplay
from cascadia_sglang.calibration.split import Parts, split_sample
from cascadia_sglang.calibration.thresholds import outcome_of
from cascadia_sglang.cascade_file import load_cascade, load_uncalibrated, read_cascade
from cascadia_sglang.commands.recording import RecordingSettings, recorded
from cascadia_sglang.judge.calibration import load_calibration

CHUNKS = 3


def questions(chunks: int) -> Iterator[str]:
    """Lines of the sample."""
    for chunk in range(chunks):
        for index, row in enumerate(chunk_rows(SPLIT, chunk)):
            line = {"id": f"{SPLIT}-{chunk}-{index}", "prompt": row.prompt, "reference": row.answer}
            yield json.dumps({**line, "group": row.family}) + "\n"


def answered(chunks: int, folder: Path) -> Pool:
    """What every tier answers, and makes of the draft before it."""
    folder.mkdir(parents=True, exist_ok=True)
    data, cascade = folder / "sample.jsonl", folder / "cascade.yaml"
    data.write_text("".join(questions(chunks)))
    config = read_cascade(CASCADE).data
    config["routing"] = {"thresholds": config["routing"]["thresholds"], "drafts": "on"}
    cascade.write_text(yaml.safe_dump(config))
    settings = RecordingSettings(data=data, out=folder, max_tokens=MAX_NEW_TOKENS, concurrency=64)
    return recorded(settings, load_uncalibrated(cascade), check_parts).pool


def as_served(parts: Parts) -> CalibratedCascade:
    """The demo as it is: its scores, its thresholds."""
    config = load_cascade(CASCADE)
    calibrations = [load_calibration(Path(path)) for path in config.calibrations().values()]
    thresholds = tuple(config.routing.thresholds)
    replay = CascadeReplay(calibrations, parts.choose, config.routing.early_abort)
    chosen = outcome_of(replay.serve(thresholds), thresholds, TIER_COST)
    return certified(calibrations, chosen, parts.certify, settings())


def main() -> None:
    """Record what is missing, fit, write the files and say what they are worth."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--chunks", type=int, default=CHUNKS, help="of 2,000 questions")
    options = parser.parse_args()
    parts = split_sample(answered(options.chunks, CACHE / "second-judges"))
    cascade = as_served(parts)
    found = second_judges(cascade, parts)
    for line in write_second_judges(found, cascade, parts, LADDER):
        print(line)


if __name__ == "__main__":
    main()
