"""Answers to a made-up sample, as if a recording server had given them."""

import json
from pathlib import Path

import numpy as np

from cascadia_sglang.calibration.record.questions import Sampling, digest_of, draft_digest
from cascadia_sglang.calibration.record.records import DraftRecord, Record, RecordFile
from cascadia_sglang.calibration.record.sample import read_sample
from cascadia_sglang.config.cascade_file import load_uncalibrated
from cascadia_sglang.judge.features import FEATURES

SAMPLING = Sampling(temperature=0.0, max_tokens=512)


def write_sample(folder: Path, count: int, prompts: int | None = None) -> Path:
    """Questions, of which only so many ask different things."""
    path = folder / "set.jsonl"
    lines = [
        {"id": f"q{i}", "prompt": str(i % (prompts or count)), "reference": "yes"}
        for i in range(count)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


HIDDEN = 6


def write_records(
    cascade: Path, data: Path, out: Path, *, prompt_ids: bool = False, hidden: bool = False
) -> None:
    """As if a run had asked everything: the first feature tells whether the answer is right.

    So does the first value of the small tier's hidden state, where that is recorded.
    """
    config, rng = load_uncalibrated(cascade), np.random.default_rng(0)
    out.mkdir()
    with RecordFile(out / "records.jsonl", Record) as file:
        for tier, skill in zip(config.tiers, (0.0, 2.0), strict=True):
            for question in read_sample(data):
                features = rng.normal(size=len(FEATURES))
                is_right = rng.random() < 1 / (1 + np.exp(-2 * features[0] - skill))
                state = None
                if hidden and tier.name == "small":
                    state_H = rng.normal(size=HIDDEN)
                    state_H[0] += 3.0 if is_right else -3.0
                    state = state_H.astype("<f2").tobytes()
                file.append(
                    Record(
                        id=question.id,
                        tier=tier.name,
                        asked=digest_of(question, tier, SAMPLING),
                        text="yes" if is_right else "no",
                        tokens=[1],
                        features=[features.tolist()],
                        seconds=0.1,
                        prompt_ids=[1, 2, 3] if prompt_ids and tier.name == "small" else None,
                        hidden=state,
                    )
                )


def write_drafts(cascade: Path, data: Path, out: Path, kept_shares: list[float]) -> None:
    """As if the large tier had read every draft of the small one; it tells the right ones apart."""
    tiers, rng = load_uncalibrated(cascade).tiers, np.random.default_rng(1)
    with RecordFile(out / "records.jsonl", Record) as file:
        right = {
            record.id: record.text == "yes"
            for record in file.load().values()
            if record.tier == "small"
        }
    with RecordFile(out / "drafts.jsonl", DraftRecord) as file:
        for row, question in enumerate(read_sample(data)):
            features = rng.normal(size=len(FEATURES))
            features[1] += 6.0 if right[question.id] else -6.0
            file.append(
                DraftRecord(
                    id=question.id,
                    tier="large",
                    asked=draft_digest(question, tiers, SAMPLING),
                    kept=kept_shares[row % len(kept_shares)],
                    features=features.tolist(),
                )
            )
