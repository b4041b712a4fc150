"""What the rivals are told beforehand: answers of every tier to questions of the calibration split.

Shape legend: N questions, T tiers, H tiers but the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.harness.client import post, send_all
from bench.harness.load import requests
from bench.rivals.fronts.proxy import mean_logprob
from bench.rivals.fronts.router import BoolArray, Fit, FloatArray, Load
from bench.rivals.system import CONCURRENCY
from demo.tasks.families import MAX_ANSWER_TOKENS, is_correct
from demo.tasks.splits import sample

FOLDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredSample:
    """Answered questions.

    Attributes:
        scores_NT: mean log-probability of each tier's answer, or a router's chance that it is
            right.
        right_NT: whether it is.
        costs_s_T: the whole machine's seconds for an answer of each tier alone.
        floor: share that the cascade answers right.
    """

    prompts: list[str]
    scores_NT: FloatArray
    right_NT: BoolArray
    costs_s_T: list[float]
    floor: float


def ask_all(cascade: int, alone: Sequence[int], seed: int, count: int) -> AnsweredSample:
    """Ask the cascade, and every tier alone.

    Args:
        cascade, alone: ports, of the tiers smallest first.
    """
    questions = sample("calibration", seed, count)
    sampling = {"temperature": 0, "max_new_tokens": MAX_ANSWER_TOKENS}
    requests_alone = [
        post("/generate", {"text": q.prompt, "sampling_params": sampling, "return_logprob": True})
        for q in questions
    ]
    sent = send_all(cascade, requests(questions), CONCURRENCY)
    by_cascade = [
        is_correct(question, reply.json()["text"])
        for question, reply in zip(questions, sent.replies, strict=True)
    ]
    scores, right, costs_s = [], [], []
    for port in alone:
        sent = send_all(port, requests_alone, CONCURRENCY)
        answers = [reply.json() for reply in sent.replies]
        scores.append([mean_logprob(answer) for answer in answers])
        right.append(
            [is_correct(q, answer["text"]) for q, answer in zip(questions, answers, strict=True)]
        )
        costs_s.append(sent.seconds / count)
    return AnsweredSample(
        prompts=[question.prompt for question in questions],
        scores_NT=np.array(scores).T,
        right_NT=np.array(right).T,
        costs_s_T=costs_s,
        floor=float(np.mean(by_cascade)),
    )


def with_chances(sampled: AnsweredSample, fit: Fit, load: Load, path: Path) -> AnsweredSample:
    """The same with a router's chances, each by a fit without the question; one of all is left.

    Args:
        path: of the router's file.
    """
    chances_NH = np.zeros((len(sampled.prompts), sampled.right_NT.shape[1] - 1))
    fold_N = np.arange(len(sampled.prompts)) % FOLDS
    for fold in range(FOLDS):
        others = np.flatnonzero(fold_N != fold)
        fit([sampled.prompts[i] for i in others], sampled.right_NT[others, :-1].T, path)
        chances = load(path)
        for i in np.flatnonzero(fold_N == fold):
            chances_NH[i] = chances(sampled.prompts[i])
    fit(sampled.prompts, sampled.right_NT[:, :-1].T, path)
    last_N1 = np.ones((len(chances_NH), 1))
    return replace(sampled, scores_NT=np.hstack([chances_NH, last_N1]))
