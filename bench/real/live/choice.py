"""The settings of every system at equal accuracy, chosen on recorded answers.

Of the short questions, the part `fit` fits the judge's score and the router, `choose` and `certify`
choose the thresholds, and `test` is asked live. A threshold is the one of the least cost whose
accuracy is at least the floor; every score is tried, and each system's in the same way.

Shape legend: N questions, T tiers.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.real.answers import StoredAnswer, load_answers
from bench.real.judge_quality import column
from bench.real.question_sets import Question
from bench.real.recorded_pool import recorded_pool, recorded_questions
from bench.rivals.fronts import ngrams
from bench.rivals.fronts.thresholds import cheapest
from bench.rivals.systems import CASCADE, PROXY
from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.fit.replay import TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_cascade
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.judge.calibration import Calibration

SET = "short"
ROUTER = "router, n-grams"
FIT, CHOOSE, TEST = ("fit",), ("choose", "certify"), ("test",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Short questions and what both tiers answered to them.

    Attributes:
        answers: of each question, the smaller tier's and the larger one's.
    """

    questions: Sequence[Question]
    pool: Pool
    answers: Sequence[tuple[StoredAnswer, StoredAnswer]]

    def rows(self, parts: Container[str]) -> RowArray:
        """The questions of some parts."""
        return np.flatnonzero([question.part in parts for question in self.questions])

    def labels(self, rows: RowArray) -> BoolArray:
        """Whether each tier answers these questions right, [N, 2]."""
        return np.column_stack([tier.right_N[rows] for tier in self.pool.tiers])

    def costs_s(self, rows: RowArray) -> list[float]:
        """Mean recorded seconds of an answer of each tier to these questions."""
        seconds_N2 = [[answer.seconds for answer in self.answers[row]] for row in rows]
        costs: list[float] = np.mean(seconds_N2, axis=0).tolist()
        return costs


def load_records(models: Sequence[str], every: int = 1) -> Records:
    """Those of two models, smallest first.

    Args:
        every: 1 for all questions, else each one after so many.

    Raises:
        SystemExit: if a model has not answered all short questions.
    """
    stored = load_answers()
    questions = [q for q in recorded_questions(stored, models) if q.set == SET][::every]
    if not questions:
        raise SystemExit(
            f"{' and '.join(models)} have not both answered the {SET} questions: "
            "bench.real.record asks them"
        )
    by_key = {(a.model, a.id): a for a in stored if a.temperature == 0.0}
    small, large = models
    return Records(
        questions=questions,
        pool=recorded_pool(questions, stored, models),
        answers=[(by_key[small, q.id], by_key[large, q.id]) for q in questions],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A threshold, and what it makes of the recorded answers that chose it.

    Attributes:
        accuracy: share of the questions that are answered right.
        at_larger: share of the questions that the larger tier answers.
    """

    threshold: float
    accuracy: float
    at_larger: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The settings of all systems.

    Attributes:
        floor: of the accuracy, on the questions that chose.
        larger: accuracy of the larger tier on them.
        questions: how many chose.
        settings: by the system's name.
        calibration: of the smaller tier.
    """

    floor: float
    larger: float
    questions: int
    settings: Mapping[str, Setting]
    calibration: Calibration


def at_equal_accuracy(
    scores: Mapping[str, FloatArray],
    right_N2: BoolArray,
    costs: Sequence[float],
    floor: float,
) -> dict[str, Setting]:
    """The setting of every system that reaches the floor at the least cost.

    Args:
        scores: of the smaller tier's answers, or of its prompts for `ROUTER`, by system; [N].
        costs: of an answer of each tier.
    """
    settings = {}
    for name, score_N in scores.items():
        [threshold] = cheapest(
            np.column_stack((score_N, np.ones(len(score_N)))),
            right_N2,
            costs,
            floor,
            climbs_from_below=name != ROUTER,
            levels=None,
        )
        is_larger_N = score_N < threshold
        settings[name] = Setting(
            threshold=threshold,
            accuracy=float(np.where(is_larger_N, right_N2[:, 1], right_N2[:, 0]).mean()),
            at_larger=float(is_larger_N.mean()),
        )
    return settings


def choose(
    records: Records, margin: float, tokenizer: Path, prompts: Sequence[str], router: Path
) -> Choice:
    """Fit and choose all settings.

    Args:
        margin: of the floor, below the larger tier's accuracy.
        tokenizer: folder of a model.
        prompts: of all questions, as they are sent.
        router: takes the router's file.
    """
    fit_rows, rows = records.rows(FIT), records.rows(CHOOSE)
    early_abort = RoutingConfig().early_abort
    calibration = fit_cascade(records.pool.take(fit_rows), early_abort)[0]
    smaller = records.pool.tiers[0].take(rows)
    nothing_N0 = np.empty((len(rows), 0))
    ngrams.fit(
        [prompts[row] for row in fit_rows],
        records.labels(fit_rows)[:, :1].T,
        router,
        tokenizer,
    )
    chances = ngrams.load(router, tokenizer)
    right_N2 = records.labels(rows)
    larger = float(right_N2[:, 1].mean())
    scores = {
        CASCADE: sigmoid(TierReplay(calibration, smaller, None).log_odds(nothing_N0)),
        PROXY: column("mean_logprob")(smaller),
        ROUTER: np.array([chances(prompts[row])[0] for row in rows]),
    }
    return Choice(
        floor=larger - margin,
        larger=larger,
        questions=len(rows),
        settings=at_equal_accuracy(scores, right_N2, records.costs_s(rows), larger - margin),
        calibration=calibration,
    )


def prompts_of(questions: Sequence[Question], tokenizer: Path) -> list[str]:
    """The chats as texts, by the model's template.

    Raises:
        SystemExit: if a text gives other tokens than its chat.
    """
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(tokenizer)
    chats = [list(question.messages) for question in questions]
    texts = [
        str(loaded.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        for chat in chats
    ]
    ids = loaded.apply_chat_template(chats[0], add_generation_prompt=True, return_dict=False)
    if list(ids) != list(loaded(texts[0])["input_ids"]):
        raise SystemExit(f"{tokenizer}: a chat's text gives other tokens than the chat")
    return texts
