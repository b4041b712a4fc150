"""The recorded answers of both models to the bench's questions, with the judge's features.

They lie in the repository, so that what reads them runs without the models.

Shape legend: N questions, F base features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.real.checker import is_right
from bench.real.questions import RealQuestion
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.record.records import Record, RecordFile

RECORDS = Path(__file__).parent / "records.jsonl"
TIERS = ("small", "large")
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswers:
    """What one model answered to N questions.

    Attributes:
        features_NF: the judge's, of the whole answers.
        right_N: whether each answer is right.
    """

    texts: tuple[str, ...]
    features_NF: FloatArray
    right_N: BoolArray


def packed(record: Record) -> Record:
    """A record without what the benches do not read: the features on the way and the prompt."""
    rounded = [None if x is None else float(f"{x:.{_DIGITS}g}") for x in record.features[-1]]
    return Record(
        id=record.id,
        tier=record.tier,
        asked=record.asked,
        text=record.text,
        tokens=record.tokens[-1:],
        features=[rounded],
        seconds=round(record.seconds, 3),
    )


def load_observed(
    questions: Sequence[RealQuestion], path: Path = RECORDS
) -> dict[str, ModelAnswers]:
    """Of every tier, in the order of the questions.

    Raises:
        SystemExit: if an answer to one of them is missing.
    """
    record_by_key = {
        (record.tier, record.id): record for record in RecordFile(path, Record).load().values()
    }
    missing = [
        (tier, q.id) for tier in TIERS for q in questions if (tier, q.id) not in record_by_key
    ]
    if missing:
        raise SystemExit(
            f"{path} lacks {len(missing)} answers, {missing[0]} among them: bench.real.observe"
        )
    return {
        tier: _observed(questions, [record_by_key[tier, q.id] for q in questions]) for tier in TIERS
    }


def _observed(questions: Sequence[RealQuestion], records: Sequence[Record]) -> ModelAnswers:
    return ModelAnswers(
        texts=tuple(record.text for record in records),
        features_NF=np.array([record.features[-1] for record in records], dtype=np.float64),
        right_N=np.array(
            [is_right(r.text, q.answers) for q, r in zip(questions, records, strict=True)]
        ),
    )
