"""Step times fitted to the steps that workers really took.

A step's time is piecewise linear in its size (rows that decode, new tokens of prompts) and linear
in its context: least squares of relative errors, so that short steps count as much as long ones,
with no coefficient below 0 (Lawson and Hanson, Solving Least Squares Problems, chapter 23).

Shape legend: N steps, K knots, F columns of a design.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.speed.profile import FitError, StepTimes

_MAX_KNOTS = 10
_MIN_STEPS = 20
_OUTLIER = 4.0
_ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep:
    """One batch step of a worker.

    Attributes:
        seconds: until the next step could begin.
        tokens: new tokens of prompts; of a decoding step, its rows.
        context_tokens: of a decoding step: the tokens its rows attend to, together.
        context_pairs: of a prefill: new tokens times the tokens before them, over its prompts.
    """

    is_decode: bool
    seconds: float
    rows: int
    tokens: int
    context_tokens: int
    context_pairs: float


def fit_step_times(steps: Sequence[MeasuredStep]) -> tuple[StepTimes, FitError, FitError]:
    """Fit the step times of a tier, with the errors of decoding and of prefills.

    Errors are those of every fifth step under a fit of the others; the times are of a fit of all.

    Raises:
        WorkloadError: for fewer than 20 steps of a kind.
    """
    decode = [step for step in steps if step.is_decode]
    prefill = [step for step in steps if not step.is_decode]
    for name, measured in (("decoding steps", decode), ("prefills", prefill)):
        if len(measured) < _MIN_STEPS:
            raise WorkloadError(f"{len(measured)} {name} were measured, a fit needs {_MIN_STEPS}")
    decode_pairs, decode_more, decode_error = _fit(
        [step.tokens for step in decode],
        np.array([[step.context_tokens] for step in decode], float),
        [step.seconds for step in decode],
    )
    prefill_pairs, prefill_more, prefill_error = _fit(
        [step.tokens for step in prefill],
        np.array([[step.rows - 1, step.context_pairs] for step in prefill], float),
        [step.seconds for step in prefill],
    )
    times = StepTimes(
        decode_ms=decode_pairs,
        prefill_ms=prefill_pairs,
        decode_context_us=float(decode_more[0] * 1e6),
        prefill_row_ms=float(prefill_more[0] * 1e3),
        prefill_context_ns=float(prefill_more[1] * 1e9),
    )
    return times, decode_error, prefill_error


def _fit(
    sizes: Sequence[int], more_NF: FloatArray, seconds: Sequence[float]
) -> tuple[list[tuple[int, float]], FloatArray, FitError]:
    """Pairs of the table in milliseconds, the linear coefficients in seconds, and the error."""
    sizes_N, seconds_N = np.array(sizes, float), np.array(seconds, float)
    knots_K = _knots(sizes_N)
    design_NF = np.hstack([_hats(sizes_N, knots_K), more_NF])
    held_N = np.arange(len(sizes_N)) % 5 == 4
    trained = _solve(design_NF[~held_N], seconds_N[~held_N])
    error_N = design_NF[held_N] @ trained / seconds_N[held_N] - 1.0
    median, p95 = np.quantile(np.abs(error_N), (0.5, 0.95)).tolist()
    error = FitError(steps=len(sizes_N), median=median, p95=p95, bias=float(np.median(error_N)))
    solved = _solve(design_NF, seconds_N)
    levels_K, rest = solved[: len(knots_K)], solved[len(knots_K) :]
    # Noise apart, a larger batch takes no less.
    levels_K = np.maximum.accumulate(np.maximum(levels_K, 1e-6))
    pairs = [
        (int(knot), round(1000 * float(level), 5))
        for knot, level in zip(knots_K, levels_K, strict=True)
    ]
    return pairs, rest, error


def _knots(sizes_N: FloatArray) -> FloatArray:
    """Sizes that were measured, the smallest and the largest among them, at even ratios between."""
    distinct = np.unique(sizes_N)
    if len(distinct) <= _MAX_KNOTS:
        return distinct
    target = np.geomspace(distinct[0], distinct[-1], _MAX_KNOTS)
    nearest = np.abs(distinct[None, :] - target[:, None]).argmin(axis=1)
    return np.unique(distinct[nearest])


def _hats(sizes_N: FloatArray, knots_K: FloatArray) -> FloatArray:
    """Weight of every knot in the linear interpolation at each size, [N, K]."""
    return np.stack([np.interp(sizes_N, knots_K, unit) for unit in np.eye(len(knots_K))], axis=1)


def _solve(design_NF: FloatArray, seconds_N: FloatArray) -> FloatArray:
    """Least squares of errors relative to the fit itself, with Huber's weights against pauses.

    Errors relative to what was measured would favour a fit that is too low.
    """
    fitted_N = seconds_N
    weights_N = np.ones(len(seconds_N))
    solution_F = np.zeros(design_NF.shape[1])
    for _ in range(_ROUNDS):
        root_N = np.sqrt(weights_N) / fitted_N
        solution_F = _non_negative(design_NF * root_N[:, None], seconds_N * root_N)
        fitted_N = np.maximum(design_NF @ solution_F, 1e-6)
        residual_N = np.abs(seconds_N / fitted_N - 1.0)
        limit = max(_OUTLIER * float(np.median(residual_N)), 1e-9)
        weights_N = np.minimum(1.0, limit / np.maximum(residual_N, 1e-12))
    return solution_F


def _non_negative(design_NF: FloatArray, target_N: FloatArray) -> FloatArray:
    """Least squares with coefficients of 0 or more, by the active-set method."""
    # Columns of one length each: context pairs are a million times rows.
    length_F = np.linalg.norm(design_NF, axis=0)
    length_F[length_F == 0.0] = 1.0
    scaled_NF = design_NF / length_F
    count = scaled_NF.shape[1]
    passive_F = np.zeros(count, bool)
    solution_F = np.zeros(count)
    for _ in range(10 * count):
        gradient_F = scaled_NF.T @ (target_N - scaled_NF @ solution_F)
        gradient_F[passive_F] = -np.inf
        if gradient_F.max() <= 1e-10:
            break
        passive_F[int(gradient_F.argmax())] = True
        while True:
            trial_F = np.zeros(count)
            trial_F[passive_F] = np.linalg.lstsq(scaled_NF[:, passive_F], target_N, rcond=None)[0]
            blocked_F = passive_F & (trial_F <= 0.0)
            if not blocked_F.any():
                break
            gap_F = np.maximum(solution_F[blocked_F] - trial_F[blocked_F], 1e-300)
            steps_F = solution_F[blocked_F] / gap_F
            solution_F = solution_F + float(steps_F.min()) * (trial_F - solution_F)
            passive_F &= solution_F > 1e-14
        solution_F = trial_F
    found_F: FloatArray = solution_F / length_F
    return found_F
