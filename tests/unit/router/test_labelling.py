"""Labels of climbs: what is in them, and that their chances are what they say."""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.feedback.shadow import Labelling
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.self_calibration.label import (
    DEFAULT_LIKELY,
    Label,
    LabelRates,
    first_rates,
    later_rates,
)
from cascadia_sglang.testing.engine import FakeEngine, FakeRun, Reply, make_cascade, make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time

LONG = "a long answer, " * 20
EVERY = LabelRates(attempts=1.0, accepted=1.0)


class LabelledRun:
    """The labels that a router takes of some prompts, asked one after the other."""

    def __init__(
        self,
        *tiers: Reply | Mapping[str, Reply],
        prompts: Sequence[str] = ("question",),
        rates: LabelRates = EVERY,
        config: CascadeConfig | None = None,
        likelihood: float | Exception | None = -0.25,
        busy: float = 0.0,
        controls: Controls | None = None,
    ) -> None:
        """`busy` is the share of the time in which no worker of the last tier is idle."""
        self.labels: list[Label] = []
        self.read: list[tuple[int, ...]] = []
        self.items: list[Any] = []
        self.engine = FakeEngine(*tiers)
        names = ("small", "middle", "large")[-len(tiers) :]
        lower = frozenset(range(len(tiers) - 1))
        random = Random(1)

        async def read(sample: Any, tier: int, token_ids: Sequence[int]) -> float | None:
            del sample, tier
            self.read.append(tuple(token_ids))
            if isinstance(likelihood, Exception):
                raise likelihood
            return likelihood

        async def main() -> None:
            router = make_router(
                config or make_cascade(*names),
                self.engine,
                is_last_tier_idle=lambda: random.random() >= busy,
            )
            self.shadow = router.services.shadow
            labelling = Labelling(tiers=lower, take=self.labels.append, likelihood=read)
            self.shadow.label(labelling, rates, DEFAULT_LIKELY)
            for number, prompt in enumerate(prompts):
                request = make_request(prompt, rid=f"caller-{number}")
                given = router.answer(request, None, controls or Controls(), ResponseSummary())
                self.items += [item async for item in given]
                await asyncio.sleep(1.0)

        run_in_virtual_time(main())

    @property
    def runs(self) -> list[FakeRun]:
        return self.engine.runs


def test_a_climb_to_the_last_tier_is_a_label_without_a_further_answer() -> None:
    features = tuple(float(index) / 3 for index in range(len(FEATURES)))
    weak = Reply(score=0.2, text="Fifty six.", features=features)
    run = LabelledRun(weak, Reply(text="fifty six"), rates=first_rates(0.02))
    [label] = run.labels
    assert (label.chance, label.least_chance, label.weight) == (1.0, 0.02, 1.0)
    [visit] = label.visits
    assert (visit.tier, visit.tokens, visit.same, visit.likelihood) == (0, [4], True, -0.25)
    assert visit.features[0] == pytest.approx(features, rel=1e-6)
    assert run.engine.visits == [0, 1]
    assert run.read == [(0, 1, 2, 3)]


def test_an_accepted_answer_is_a_label_once_the_last_tier_was_asked() -> None:
    run = LabelledRun(Reply(score=0.9, text="5"), Reply(text="6"))
    [label] = run.labels
    assert label.visits[0].same is False
    assert run.engine.visits == [0, 1]
    assert run.shadow.counts == {(0, "differed"): 1}


def test_every_tier_on_the_way_is_in_the_label() -> None:
    middle = Reply(score=0.9, text="6")
    run = LabelledRun(Reply(score=0.1, text="5"), middle, Reply(text="6"))
    [label] = run.labels
    assert [(visit.tier, visit.same) for visit in label.visits] == [(0, False), (1, True)]


def scores(run: LabelledRun) -> dict[int, list[tuple[float, bool]]]:
    """By tier: the scores that are known with the last tier's opinion."""
    return {tier: list(labels) for tier, labels in run.shadow.labelled.items()}


def test_scores_of_all_labelled_tiers_are_known_with_the_last_tiers_opinion() -> None:
    middle = Reply(score=0.9, text="6")
    accepted = LabelledRun(Reply(score=0.1, text="5"), middle, Reply(text="6"))
    assert scores(accepted) == {0: [(0.1, False)], 1: [(0.9, True)]}
    escalated = LabelledRun(Reply(score=0.2, text="5"), Reply(text="5"))
    assert scores(escalated) == {0: [(0.2, True)]}


def test_a_long_accepted_answer_is_read_and_not_written_again() -> None:
    run = LabelledRun(Reply(score=0.9, text=LONG), Reply(text="6"))
    [label] = run.labels
    assert (label.visits[0].same, label.visits[0].likelihood) == (None, -0.25)
    assert label.visits[0].kind == "likelihood"
    assert run.engine.visits == [0]
    assert run.shadow.counts == {(0, "agreed"): 1}


def test_an_answer_that_the_last_tier_finds_unlikely_differs() -> None:
    run = LabelledRun(Reply(score=0.9, text=LONG), Reply(), likelihood=-3.0)
    assert run.shadow.counts == {(0, "differed"): 1}


def test_a_long_answer_of_the_last_tier_is_not_compared_by_words() -> None:
    run = LabelledRun(Reply(score=0.2, text="6"), Reply(text=LONG))
    assert run.labels[0].visits[0].same is None


@pytest.mark.parametrize("likelihood", [None, ValueError("no")])
def test_without_words_and_likelihood_there_is_no_label(likelihood: Exception | None) -> None:
    run = LabelledRun(Reply(score=0.9, text=LONG), Reply(), likelihood=likelihood)
    assert run.labels == []
    assert run.shadow.counts == {(0, "failed"): 1}
    assert run.items[0]["text"] == LONG


def test_labelled_attempts_run_to_their_end_and_the_others_do_not() -> None:
    for rates, early_abort in ((EVERY, None), (LabelRates(attempts=1e-9, accepted=1.0), 0.05)):
        run = LabelledRun(Reply(score=0.2), Reply(), rates=rates)
        assert run.runs[0].order.early_abort == early_abort
        assert run.runs[0].order.record is (early_abort is None)


def test_features_reach_the_client_only_where_the_server_records() -> None:
    for records in (False, True):
        judge = msgspec.structs.replace(make_cascade("a").judge, record=records)
        config = make_cascade("small", "large", judge=judge)
        run = LabelledRun(Reply(score=0.2), Reply(), config=config)
        attempts = run.items[0]["meta_info"]["cascadia"]["attempts"]
        assert all(("record" in attempt) is records for attempt in attempts)
        assert len(run.labels) == 1


@pytest.mark.parametrize(
    "controls", [Controls(tier=0), Controls(max_tier=1), Controls(threshold=0.5)]
)
def test_what_did_not_come_the_cascades_own_way_is_no_label(controls: Controls) -> None:
    assert LabelledRun(Reply(score=0.2), Reply(), controls=controls).labels == []


@pytest.mark.parametrize("reply", [Reply(score=None), Reply(score=0.2, early_abort=True)])
def test_an_answer_that_no_judge_rated_whole_is_no_label(reply: Reply) -> None:
    assert LabelledRun(reply, Reply()).labels == []


def test_a_label_holds_nothing_of_the_prompt_or_the_answers() -> None:
    run = LabelledRun(Reply(score=0.2, text="secret"), Reply(text="secret"), prompts=["secret"])
    written = msgspec.json.encode(run.labels)
    assert b"secret" not in written
    assert str(list(map(ord, "secret"))).encode() not in written


@pytest.mark.parametrize("rates", [first_rates(0.1), later_rates(0.1), later_rates(0.3)])
def test_the_share_of_labelled_accepted_answers_is_the_rate(rates: LabelRates) -> None:
    assert rates.least_chance in (pytest.approx(0.1), pytest.approx(0.3))
    assert 0.0 < rates.accepted <= 1.0


@pytest.mark.parametrize(
    ("rates", "busy"),
    [
        (first_rates(0.2), 0.0),
        (LabelRates(attempts=0.5, accepted=0.4), 0.0),
        (first_rates(0.2), 0.4),
    ],
    ids=["first", "later", "busy"],
)
def test_weighted_labels_estimate_agreement_without_bias(rates: LabelRates, busy: float) -> None:
    """By brute force: accepted answers agree far more often than those that climb."""
    random = Random(0)
    small: dict[str, Reply] = {}
    large: dict[str, Reply] = {}
    agreed = 0
    for number in range(400):
        prompt, climbs = f"p{number}", number % 10 < 3
        agrees = random.random() < (0.2 if climbs else 0.95)
        agreed += agrees
        small[prompt] = Reply(score=0.2 if climbs else 0.9, text="yes")
        large[prompt] = Reply(text="yes" if agrees else "no")
    prompts = [f"p{number}" for number in range(400)] * 10
    run = LabelledRun(small, large, prompts=prompts, rates=rates, busy=busy)
    labels = run.labels
    weights = [label.weight for label in labels]
    same = [label.visits[0].same for label in labels]
    estimate = sum(w for w, s in zip(weights, same, strict=True) if s) / sum(weights)
    # Its standard error is below 0.017 in every case; the labels as they come are 0.2 off.
    assert estimate == pytest.approx(agreed / 400, abs=0.05)
    assert abs(sum(map(bool, same)) / len(same) - agreed / 400) > 0.1
    # The weights stand for the prompts that came while the last tier was idle.
    assert sum(weights) == pytest.approx(4000 * (1 - busy), rel=0.15)
    # In the thinned part every prompt has the same chance.
    thinned = [label.visits[0].same for label in labels if label.is_thinned]
    assert len(thinned) == pytest.approx(4000 * (1 - busy) * rates.least_chance, rel=0.2)
    assert sum(map(bool, thinned)) / len(thinned) == pytest.approx(agreed / 400, abs=0.06)
