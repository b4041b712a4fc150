"""Requests, models and steps for the tests of the judge."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sglang.srt.managers.auxiliary_output import CommittedTokens

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.calibration import Calibration, PrefixModel, ScoreModel
from cascadia_sglang.judge.device_observer import CopiedStep
from cascadia_sglang.judge.features import FEATURES, earlier_names, features
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.state import empty_states, fold_step
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder

F = len(FEATURES)
SURE, UNSURE = [-0.1, 0.2, 3.0, 4.0, 1.0], [-3.0, 2.0, 0.1, 0.5, 1.0]


def make_model(bias: float = 0.0, weight: float = 1.0) -> ScoreModel:
    """Scores by the mean log-probability alone, after 2 tokens too."""
    weights = [weight if name == "mean_logprob" else 0.0 for name in FEATURES]
    return ScoreModel(
        Calibration(
            version=3,
            features=list(FEATURES),
            mean=[0.0] * F,
            scale=[1.0] * F,
            weights=weights,
            bias=bias,
            prefix=[PrefixModel(tokens=2, weights=weights, bias=bias, residual_sd=0.1)],
            samples=1,
            constrained_samples=0,
            score_quantiles=[0.0, 1.0],
            report={},
            quantile_samples=1,
        )
    )


@dataclass(eq=False)
class FakeReq:
    """What the judge needs of SGLang's `Req`."""

    sampling_params: Any
    origin_input_ids: list[int] = field(default_factory=lambda: [1, 2, 3])
    finished_reason: Any = None
    to_finish: Any = None
    reasoning_tokens: int = 0
    visible_tokens: int = 0

    def commit(self) -> CommittedTokens:
        """A visible token more."""
        self.visible_tokens += 1
        return CommittedTokens(output_index=self.visible_tokens - 1, token_ids=(7,))

    def finished(self) -> bool:
        return self.finished_reason is not None


def make_req(
    tier_index: int | None = 0,
    threshold: float = 0.5,
    early_abort: float | None = None,
    earlier_scores: tuple[float | None, ...] = (),
    calibration: str | None = None,
    record: bool = False,
) -> FakeReq:
    """A request that the router sent; one of someone else's where the tier is None."""
    if tier_index is None:
        return FakeReq(SimpleNamespace(custom_params=None))
    order = AttemptOrder(
        tier_index=tier_index,
        threshold=threshold,
        early_abort=early_abort,
        earlier_scores=earlier_scores,
        calibration=calibration,
        record=record,
    )
    return FakeReq(SimpleNamespace(custom_params={ATTEMPT_KEY: order.to_params()}))


def step(judge: Judge, *pairs: tuple[FakeReq, list[float]]) -> None:
    """One decoding step in which every request gets a visible token."""
    requests: Any = [request for request, _ in pairs]
    values_B5 = torch.tensor([values for _, values in pairs], dtype=torch.float64)
    commits = [request.commit() for request in requests]
    judge.consume(requests, commits, CopiedStep(values_B5, None, judge))


def finish(request: FakeReq, reason: Any = "stop") -> None:
    request.finished_reason = reason


def report_of(judge: Judge, request: Any) -> Any:
    (reports,) = judge.reports([request])
    return reports[0] if reports else None


def fold_values(states_NS: FloatArray, states: list[int], values: FloatArray) -> None:
    """Fold one step; `values[i]` belongs to the i-th of these states."""
    rows, none = np.arange(len(states)), np.zeros(0, dtype=np.bool_)
    fold_step(states_NS, np.array(states), rows, values, none)


def plain_features(answer: list[list[float]], truncated: bool = False) -> FloatArray:
    states_NS = empty_states(1)
    for values in answer:
        fold_values(states_NS, [0], np.array([values]))
    row: FloatArray = features(states_NS, np.array([3.0]), np.array([float(truncated)]))[0]
    return row


def make_calibration(earlier_tiers: int, bias: float, **weights: float) -> Calibration:
    """A calibration with a few weights on raw columns, and no prefix model."""
    names = [*FEATURES, *earlier_names(earlier_tiers)]
    return Calibration(
        version=3,
        features=names,
        mean=[0.0] * len(names),
        scale=[1.0] * len(names),
        weights=[weights.get(name, 0.0) for name in names],
        bias=bias,
        prefix=[],
        samples=1,
        constrained_samples=0,
        score_quantiles=[0.0, 1.0],
        report={},
        quantile_samples=1,
    )
