"""The numbers of a live run, from replies whose shares and accuracies are known."""

import numpy as np
import pytest

from bench.harness.rows import Facts
from bench.real.observed import ModelAnswers
from bench.real.questions import questions
from bench.real.shares.measures import WINDOW, measure
from bench.real.shares.replies import Reply, load_replies, save_replies
from bench.real.shares.report import page, rows

ASKED = questions()


def evenly(seed: int) -> np.ndarray:
    """Numbers in (0, 1), of which each window has the same, in an order of its own."""
    rng = np.random.default_rng(seed)
    steps = (np.arange(WINDOW) + 0.5) / WINDOW
    return np.concatenate([rng.permutation(steps) for _ in range(len(ASKED) // WINDOW)])


RANKS = evenly(0)
FACTS = Facts(
    machine="m", commit="c", dirty=False, torch="t", sglang="s", date_utc="d", command="x"
)


def observed(is_right: np.ndarray) -> ModelAnswers:
    texts = tuple(q.answers[0] if r else "?" for q, r in zip(ASKED, is_right, strict=True))
    return ModelAnswers(texts=texts, features_NF=np.zeros((len(ASKED), 0)), right_N=is_right)


# The small model is right where its rank is high, the large one always.
SMALL, LARGE = observed(RANKS > 0.4), observed(np.ones(len(ASKED), dtype=bool))


def replies(climbs: np.ndarray) -> list[Reply]:
    return [
        Reply(
            id=question.id,
            tier="large" if up else "small",
            score=None if up else float(rank),
            text=(LARGE if up else SMALL).texts[index],
            seconds=1.0,
        )
        for index, (question, up, rank) in enumerate(zip(ASKED, climbs, RANKS, strict=True))
    ]


def measured(climbs: np.ndarray):
    return measure(ASKED, replies(climbs), {"small": SMALL, "large": LARGE}, RANKS)


def test_a_choice_by_rank_is_kept_and_reaches_the_threshold() -> None:
    for mix in measured(RANKS < 0.3):
        assert mix.climbed == pytest.approx(0.3)
        assert mix.is_share_kept
        assert mix.served == mix.choice.threshold == mix.choice.served > mix.choice.random
        assert mix.of_the_way == pytest.approx(1.0)
        assert mix.is_chosen_well
        assert mix.same_text == 1.0
        assert mix.rank_gap == 0.0


def test_a_choice_by_lot_is_told() -> None:
    for mix in measured(evenly(3) < 0.3):
        assert mix.is_share_kept
        assert mix.served == pytest.approx(mix.choice.random, abs=0.05)
        assert not mix.is_chosen_well


def test_a_share_that_swings_from_window_to_window_is_told() -> None:
    number = np.arange(len(ASKED))
    swings = np.where(number // WINDOW % 3 == 1, 0.2, 0.35) > RANKS
    for mix in measured(swings):
        assert mix.climbed == pytest.approx(0.3)
        assert not mix.is_share_kept


def test_only_the_first_window_after_a_change_may_swing() -> None:
    number = np.arange(len(ASKED))
    swings = np.where(number % 600 < WINDOW, 0.4, 0.25) > RANKS
    first, second, third = measured(swings)
    assert [window.is_after_change for window in second.windows] == [True, False, False]
    assert [window.first for window in third.windows] == [1200, 1400, 1600]
    assert not any(window.is_after_change for window in first.windows)
    assert not first.windows[0].is_kept
    assert second.windows[0].is_kept
    assert third.windows[0].is_kept


def test_the_report_holds_the_numbers_and_says_what_is_missed() -> None:
    climbs = np.where(np.arange(len(ASKED)) < 600, 0.5, 0.3) > RANKS
    measures = measured(climbs)
    lines = page(measures, FACTS, "one and two").splitlines()
    shares = [line for line in lines if line.startswith("| ")]
    assert shares[1].startswith(f"| arithmetic | {measures[0].climbed:.3f} |")
    assert shares[1].endswith("| no |")
    assert shares[2].endswith("| yes |")
    row_by_metric = {(row.variant, row.metric): row for row in rows(measures, FACTS, "one and two")}
    assert row_by_metric["text", "share_climbed"].p50 == pytest.approx(
        measures[2].climbed, rel=1e-4
    )
    window = row_by_metric["python, questions from 800", "share_climbed"]
    assert window.p50 == pytest.approx(climbs[800:1000].mean())
    assert window.n == WINDOW


def test_replies_are_kept_and_those_to_other_questions_refused(tmp_path) -> None:
    path, saved = tmp_path / "a" / "replies.jsonl", replies(RANKS < 0.3)
    save_replies(path, saved)
    assert load_replies(path, ASKED) == saved
    with pytest.raises(SystemExit, match="other questions"):
        load_replies(path, ASKED[1:])
    with pytest.raises(SystemExit, match="missing"):
        load_replies(tmp_path / "none", ASKED)
