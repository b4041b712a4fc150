"""How the order of two scores is compared."""

import msgspec
import numpy as np
import pytest

from bench.harness.paired import auroc_difference
from bench.real.observed import TIERS, load_observed, packed
from bench.real.questions import MIXES, questions
from bench.real.rank import by_mix, made_up
from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.judge.features import FEATURES

RNG = np.random.default_rng(0)
RIGHT = RNG.random(600) < 0.6


def test_a_score_does_not_differ_from_what_orders_alike() -> None:
    score = RNG.random(600)
    difference = auroc_difference(score, 3 * score - 1, RIGHT)
    assert (difference.p50, difference.low95, difference.high95) == (0.0, 0.0, 0.0)
    assert difference.n == 600


def test_a_better_order_is_better_beyond_chance_and_the_other_way_round() -> None:
    better, worse = RIGHT + RNG.normal(0, 0.7, 600), RIGHT + RNG.normal(0, 3.0, 600)
    difference = auroc_difference(better, worse, RIGHT)
    assert 0.0 < difference.low95 < difference.p50 < difference.high95
    mirrored = auroc_difference(worse, better, RIGHT)
    assert mirrored.p50 == pytest.approx(-difference.p50)
    assert mirrored.high95 == pytest.approx(-difference.low95, abs=1e-9)


def test_every_model_and_mix_of_the_records_is_compared(tmp_path) -> None:
    sample, lines = questions(mix_size=40), []
    for tier in TIERS:
        for index, question in enumerate(sample):
            is_right = index % 3 > 0
            # The surer of two answers is right: every order by a log-probability is perfect.
            sure = np.full(len(FEATURES), -0.1 if is_right else -2.0).tolist()
            record = Record(
                id=question.id,
                tier=tier,
                asked="a",
                text=question.answers[0] if is_right else "?",
                tokens=[3],
                features=[sure],
                seconds=1.0,
            )
            lines.append(msgspec.json.encode(packed(record)) + b"\n")
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"".join(lines))
    measures = {
        (name, metric): value for name, metric, value in by_mix(sample, load_observed(sample, path))
    }
    names = {name for name, _ in measures}
    assert names == {*TIERS, *(f"{tier}, {mix}" for tier in TIERS for mix in MIXES)}
    assert measures["small", "accuracy"].p50 == pytest.approx(2 / 3)
    assert measures["small", "auroc_min_logprob"].p50 == 1.0
    assert measures["large, text", "accuracy"].n == 40


def test_the_smoke_forms_answers_are_compared_in_every_mix() -> None:
    sample = questions(mix_size=40)
    measures = {(name, metric): value for name, metric, value in by_mix(sample, made_up(sample))}
    for tier in TIERS:
        assert measures[tier, "auroc_rank"].p50 > 0.6
        for mix in MIXES:
            assert measures[f"{tier}, {mix}", "accuracy"].n == 40
