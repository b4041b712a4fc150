"""The recorded answers of real models as the pool from which a calibration is fitted.

Shape legend: N questions, F base features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.real.answers import StoredAnswer
from bench.real.question_sets import SETS, Question, question_set
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.features import FEATURES


def recorded_questions(stored: Sequence[StoredAnswer], models: Sequence[str]) -> list[Question]:
    """The questions of every set that all these models have answered whole."""
    answered = {(answer.model, answer.id) for answer in stored if answer.temperature == 0.0}
    sets = [question_set(name) for name in SETS]
    return [
        question
        for questions in sets
        if all((model, question.id) in answered for model in models for question in questions)
        for question in questions
    ]


def recorded_pool(
    questions: Sequence[Question], stored: Sequence[StoredAnswer], models: Sequence[str]
) -> Pool:
    """The greedy answers of these models, smallest first, in the order of the questions.

    An answer that nobody can label counts as right where its text is the last model's.

    Raises:
        SystemExit: if an answer is missing.
    """
    answers = {(a.model, a.id): a for a in stored if a.temperature == 0.0}
    missing = [(model, q.id) for model in models for q in questions if (model, q.id) not in answers]
    if missing:
        raise SystemExit(
            f"{len(missing)} answers are missing, {missing[0]} among them: bench.real.record"
        )
    last = [answers[models[-1], question.id] for question in questions]
    return Pool(
        tiers=tuple(
            _tier_answers([answers[model, question.id] for question in questions], last)
            for model in models
        ),
        ids=tuple(question.id for question in questions),
        prompt_keys=tuple(question.id for question in questions),
        groups=tuple(question.kind for question in questions),
        constrained_N=np.zeros(len(questions), dtype=bool),
    )


def _tier_answers(answers: Sequence[StoredAnswer], last: Sequence[StoredAnswer]) -> TierAnswers:
    longest = max(len(answer.values) for answer in answers)
    checkpoints = [1 << power for power in range(1, longest.bit_length()) if 1 << power < longest]
    same_N = np.array([a.text_key == b.text_key for a, b in zip(answers, last, strict=True)])
    right = [
        bool(same) if answer.right is None else answer.right
        for answer, same in zip(answers, same_N, strict=True)
    ]
    return TierAnswers(
        features_NF=np.array([answer.features() for answer in answers]),
        prefix_NF={tokens: _prefix(answers, tokens) for tokens in checkpoints},
        right_N=np.array(right, dtype=bool),
        same_N=same_N,
    )


def _prefix(answers: Sequence[StoredAnswer], tokens: int) -> FloatArray:
    """Features after so many tokens, [N, F]; NaN where the answer had ended by then."""
    nothing_F = np.full(len(FEATURES), np.nan)
    return np.array([a.features(tokens) if len(a.values) > tokens else nothing_F for a in answers])
