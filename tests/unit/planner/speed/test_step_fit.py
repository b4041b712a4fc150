"""Step times that were made up are found again from the steps they make."""

import numpy as np
import pytest

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.speed.profile import StepTimes
from cascadia_sglang.planner.speed.step_fit import MeasuredStep, fit_step_times

TRUE = StepTimes(
    decode_ms=[(1, 4.0), (8, 5.0), (64, 16.0)],
    prefill_ms=[(4, 3.0), (64, 6.0), (512, 40.0)],
    decode_context_us=0.8,
    prefill_row_ms=0.3,
    prefill_context_ns=200.0,
)


def _steps(noise: float, pauses: int) -> list[MeasuredStep]:
    random = np.random.default_rng(0)
    steps = []
    for _ in range(150):
        for rows in (1, 8, 64):
            context = int(rows * random.integers(8, 400))
            seconds = TRUE.decode_s(rows, context)
            steps.append((True, seconds, rows, rows, context, 0))
        for tokens in (4, 64, 512):
            prompts, before = int(random.integers(1, 5)), int(random.integers(0, 2) * 256)
            pairs = tokens * before
            seconds = TRUE.prefill_s(tokens, prompts, pairs)
            steps.append((False, seconds, prompts, tokens, 0, pairs))
    factors = random.lognormal(0, noise, len(steps)) if noise else np.ones(len(steps))
    factors[random.choice(len(steps), pauses, replace=False)] = 20.0
    return [
        MeasuredStep(
            is_decode=is_decode,
            seconds=seconds * factor,
            rows=rows,
            tokens=tokens,
            context_tokens=context,
            context_pairs=pairs,
        )
        for (is_decode, seconds, rows, tokens, context, pairs), factor in zip(
            steps, factors, strict=True
        )
    ]


def test_without_noise_the_times_come_back():
    fitted, decode_error, prefill_error = fit_step_times(_steps(0.0, 0))
    assert fitted.decode_context_us == pytest.approx(0.8, rel=1e-3)
    assert fitted.prefill_row_ms == pytest.approx(0.3, rel=1e-3)
    assert fitted.prefill_context_ns == pytest.approx(200.0, rel=1e-3)
    for (size, ms), (true_size, true_ms) in zip(fitted.decode_ms, TRUE.decode_ms, strict=True):
        assert (size, ms) == (true_size, pytest.approx(true_ms, rel=1e-3))
    assert max(decode_error.p95, prefill_error.p95) < 1e-4


def test_noise_and_pauses_of_the_host_shift_nothing_and_show_in_the_error():
    fitted, decode_error, _ = fit_step_times(_steps(0.1, 12))
    for rows in (1, 8, 64):
        assert fitted.decode_s(rows, 100 * rows) == pytest.approx(
            TRUE.decode_s(rows, 100 * rows), rel=0.03
        )
    assert 0.05 < decode_error.median < 0.09
    assert abs(decode_error.bias) < 0.03


def test_no_time_falls_with_size_and_no_coefficient_is_negative():
    random = np.random.default_rng(1)
    steps = [
        MeasuredStep(
            is_decode=is_decode,
            seconds=float(random.uniform(0.001, 0.01)),
            rows=1,
            tokens=int(random.integers(1, 100)),
            context_tokens=int(random.integers(1, 1000)),
            context_pairs=float(random.integers(0, 1000)),
        )
        for is_decode in (True, False)
        for _ in range(60)
    ]
    fitted, _, _ = fit_step_times(steps)
    for pairs in (fitted.decode_ms, fitted.prefill_ms):
        assert [ms for _, ms in pairs] == sorted(ms for _, ms in pairs)
    assert min(fitted.decode_context_us, fitted.prefill_row_ms, fitted.prefill_context_ns) >= 0


def test_too_few_steps_are_refused():
    with pytest.raises(WorkloadError, match="0 decoding steps were measured, a fit needs 20"):
        fit_step_times([step for step in _steps(0.0, 0) if not step.is_decode])
