"""Recorded answers: packed small, read in order, and refused where one is missing."""

import msgspec
import numpy as np
import pytest

from bench.real.observed import TIERS, load_observed, packed
from bench.real.questions import questions
from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.judge.features import FEATURES

ASKED = questions(mix_size=2)


def record(tier: str, question, text: str) -> Record:
    first = [0.1] * len(FEATURES)
    last = [-1.23456789e-7, None, *([2.5] * (len(FEATURES) - 2))]
    return Record(
        id=question.id,
        tier=tier,
        asked="a",
        text=text,
        tokens=[2, 3],
        features=[first, last],
        seconds=1.23456,
        prompt_ids=[1, 2],
    )


def test_packed_records_are_read_in_the_order_of_the_questions(tmp_path) -> None:
    path = tmp_path / "records.jsonl"
    records = [
        packed(record(tier, question, question.answers[0] if tier == "large" else "?"))
        for tier in TIERS
        for question in reversed(ASKED)
    ]
    path.write_bytes(
        b"".join(msgspec.json.encode(packed_record) + b"\n" for packed_record in records)
    )
    observed = load_observed(ASKED, path)
    assert observed["large"].texts == tuple(question.answers[0] for question in ASKED)
    assert observed["large"].right_N.all()
    assert not observed["small"].right_N.any()
    features = observed["small"].features_NF
    assert features.shape == (len(ASKED), len(FEATURES))
    assert features[0, 0] == pytest.approx(-1.23456789e-7, rel=1e-5)
    assert np.isnan(features[0, 1])
    assert records[0].tokens == [3]
    assert records[0].prompt_ids is None


def test_a_missing_answer_is_named(tmp_path) -> None:
    path = tmp_path / "records.jsonl"
    packed_record = packed(record("small", ASKED[0], "?"))
    path.write_bytes(msgspec.json.encode(packed_record) + b"\n")
    with pytest.raises(SystemExit, match=f"lacks {2 * len(ASKED) - 1} answers.*observe"):
        load_observed(ASKED, path)


def test_the_records_of_the_project_answer_every_question() -> None:
    sample = questions()
    observed = load_observed(sample)
    for tier in TIERS:
        seen = observed[tier]
        assert len(seen.texts) == len(sample) == len(seen.right_N)
        assert np.isfinite(seen.features_NF).all()
        assert 0.4 < seen.right_N.mean() < 0.9
    assert observed["large"].right_N.mean() > observed["small"].right_N.mean()
