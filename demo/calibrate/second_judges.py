"""Fits the demo's second judges: what the middle and the large tier make of drafts.

    python -m demo.calibrate.second_judges

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

from cascadia_sglang.calibration.fit.calibrate import check_parts
from cascadia_sglang.calibration.fit.split import split_sample
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.calibration.record.session import RecordingSettings, recorded
from cascadia_sglang.calibration.report.output import second_judges, write_second_judges
from cascadia_sglang.config.cascade_file import load_uncalibrated, read_cascade
from demo import CASCADE, FOLDER
from demo.calibrate import committed
from demo.calibrate.answers import CACHE, chunk_rows
from demo.calibrate.fit import SPLIT
from demo.tasks.families import MAX_ANSWER_TOKENS

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
    settings = RecordingSettings(
        data=data, out=folder, label="exact", max_tokens=MAX_ANSWER_TOKENS, concurrency=64
    )
    return recorded(settings, load_uncalibrated(cascade), check_parts).pool


def main() -> None:
    """Record what is missing, fit, write the files and say what they are worth."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--chunks", type=int, default=CHUNKS, help="of 2,000 questions")
    options = parser.parse_args()
    parts = split_sample(answered(options.chunks, CACHE / "second-judges"))
    cascade = committed.cascade(parts)
    judges = second_judges(cascade, parts)
    for line in write_second_judges(judges, cascade, parts, FOLDER):
        print(line)


if __name__ == "__main__":
    main()
