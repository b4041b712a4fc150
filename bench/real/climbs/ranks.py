"""Orders in which answers of the smaller tier climb: by doubt, by expected gain, or knowing all.

Shape legend: N answers, n answers that fit, M answers that are ranked, C columns.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.real.climbs.fits import fit_prompts, fitted_chances, prompt_log_odds
from bench.real.judge_quality import fitted
from bench.real.question_sets import Question
from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.fit.replay import sigmoid
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.entry.prompt_chance import PromptScorer
from cascadia_sglang.judge.features import FEATURES

NGRAMS, BITS = 2, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredQuestions:
    """Questions that both tiers answered.

    Attributes:
        word_ids: of every chat, a number for each word and sign; they stand for token ids.
        kind_N: kind of every question.
        small_N, large_N: whether each tier's answer is right.
    """

    pool: Pool
    word_ids: tuple[tuple[int, ...], ...]
    kind_N: npt.NDArray[np.str_]
    small_N: BoolArray
    large_N: BoolArray

    def take(self, rows_M: RowArray) -> AnsweredQuestions:
        """Some of the questions."""
        return AnsweredQuestions(
            pool=self.pool.take(rows_M),
            word_ids=tuple(self.word_ids[row] for row in rows_M),
            kind_N=self.kind_N[rows_M],
            small_N=self.small_N[rows_M],
            large_N=self.large_N[rows_M],
        )


def answered(questions: Sequence[Question], pool: Pool) -> AnsweredQuestions:
    """The questions and the answers of a pool of two tiers."""
    small, large = pool.tiers
    return AnsweredQuestions(
        pool=pool,
        word_ids=tuple(_word_ids(question) for question in questions),
        kind_N=np.array([question.kind for question in questions]),
        small_N=small.right_N,
        large_N=large.right_N,
    )


def _word_ids(question: Question) -> tuple[int, ...]:
    text = " \n ".join(message["content"] for message in question.messages).lower()
    words = "".join(char if char.isalnum() else f" {char} " for char in text).split()
    return tuple(zlib.crc32(word.encode()) for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Answers that fit the rules, and others that they rank.

    Attributes:
        known_n2, others_M2: log-odds that each tier's answer is right, from the prompt alone; of
            known ones by models that they did not fit.
        known_nF, others_MF: features of the smaller tier's answers.
    """

    fitting: AnsweredQuestions
    others: AnsweredQuestions
    known_n2: FloatArray
    others_M2: FloatArray
    known_nF: FloatArray
    others_MF: FloatArray


def case_of(fitting: AnsweredQuestions, others: AnsweredQuestions) -> Case:
    """Fit the models of prompts."""
    right_n2 = np.column_stack((fitting.small_N, fitting.large_N))
    prompts = fit_prompts(fitting.word_ids, right_n2, NGRAMS, BITS)
    return Case(
        fitting=fitting,
        others=others,
        known_n2=prompts.log_odds_nT,
        others_M2=prompt_log_odds(PromptScorer(prompts.chances, NGRAMS, BITS), others.word_ids),
        known_nF=fitting.pool.tiers[0].features_NF,
        others_MF=others.pool.tiers[0].features_NF,
    )


# A rule ranks the others of a case; the highest climb first, [M].
Ranks = Callable[[Case], FloatArray]


def _feature(name: str) -> Ranks:
    column = FEATURES.index(name)
    return lambda case: -case.others_MF[:, column]


def score_of(case: Case) -> FloatArray:
    """The calibrated score of the others' smaller answers, [M]."""
    return fitted(case.fitting.pool.tiers[0])(case.others.pool.tiers[0])


def chances_by_both(case: Case) -> tuple[FloatArray, FloatArray]:
    """That each tier is right, by features and prompt, of known and of others: [2, n], [2, M]."""
    known_nC, others_MC = _both(case)
    of_small, of_large = (
        fitted_chances(known_nC, right_n, [known_nC, others_MC])
        for right_n in (case.fitting.small_N, case.fitting.large_N)
    )
    return np.stack((of_small[0], of_large[0])), np.stack((of_small[1], of_large[1]))


def _doubt(case: Case) -> FloatArray:
    return -score_of(case)


def _doubt_by_both(case: Case) -> FloatArray:
    _, (small_M, _) = chances_by_both(case)
    return -small_M


def _gain_by_features(case: Case) -> FloatArray:
    return _gain(case, case.known_nF, case.others_MF)


def _gain_by_both(case: Case) -> FloatArray:
    _, (small_M, large_M) = chances_by_both(case)
    return large_M - small_M


def _gain_by_prompt(case: Case) -> FloatArray:
    small_M, large_M = sigmoid(case.others_M2.T)
    return large_M - small_M


def _gain_by_kind(case: Case) -> FloatArray:
    kinds = np.array(sorted(set(case.fitting.kind_N)))
    known_nK, others_MK = (
        (part.kind_N[:, None] == kinds).astype(np.float64) for part in (case.fitting, case.others)
    )
    return _gain(case, known_nK, others_MK)


def _perfect_judge(case: Case) -> FloatArray:
    return (~case.others.small_N).astype(np.float64)


def _knowing_both(case: Case) -> FloatArray:
    return case.others.large_N.astype(np.float64) - case.others.small_N


RANKS: Mapping[str, Ranks] = {
    "mean log-probability": _feature("mean_logprob"),
    "least log-probability": _feature("min_logprob"),
    "score": _doubt,
    "score with n-grams": _doubt_by_both,
    "gain by features": _gain_by_features,
    "gain by features and n-grams": _gain_by_both,
    "gain by n-grams alone": _gain_by_prompt,
    "gain by kind alone": _gain_by_kind,
    "judge that is never wrong": _perfect_judge,
    "knowing both answers": _knowing_both,
}


def _both(case: Case) -> tuple[FloatArray, FloatArray]:
    return (
        np.column_stack((case.known_nF, case.known_n2)),
        np.column_stack((case.others_MF, case.others_M2)),
    )


def _gain(case: Case, known_nC: FloatArray, others_MC: FloatArray) -> FloatArray:
    """Chance that the larger tier is right less chance that the smaller one is, [M]."""
    [small_M] = fitted_chances(known_nC, case.fitting.small_N, [others_MC])
    [large_M] = fitted_chances(known_nC, case.fitting.large_N, [others_MC])
    return large_M - small_M
