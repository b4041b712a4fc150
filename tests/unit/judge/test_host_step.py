"""A step read in the host's memory says what the kernels' references say."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.layout import KeptLogits
from cascadia_kernels.reference import reference_logprob, reference_row
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.testing import make_logits
from cascadia_sglang.judge.features import FEATURES, features
from cascadia_sglang.judge.host_step import (
    ENTROPY,
    LOGSUMEXP,
    MARGIN,
    SELF_CERTAINTY,
    fold_host_step,
    host_statistics,
)
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import HostObserver, HostStep, build_observer
from cascadia_sglang.judge.state import COUNT, FORCED, MIN_LOGPROB, empty_states
from tests.unit.judge.judging import fold_values

COLUMNS = {"logsumexp": LOGSUMEXP, "entropy": ENTROPY, "margin": MARGIN}
COLUMNS["self_certainty"] = SELF_CERTAINTY


# 1: no second column; 2: the least with a margin; 17: past the best pairs; 1000: a vocabulary.
@pytest.mark.parametrize("columns", [1, 2, 17, 1000])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_statistics_equal_the_float64_reference(columns: int, masked: bool) -> None:
    logits_BV = make_logits(5, columns).numpy()
    if masked and columns > 1:
        logits_BV[:, 1::2] = -np.inf
    statistics = host_statistics(logits_BV)
    for row, values in zip(logits_BV, statistics, strict=True):
        expected = reference_row([float(x) for x in row], 1.0)
        for name, column in COLUMNS.items():
            assert values[column] == pytest.approx(expected[name], abs=1e-9, rel=1e-9), name


def test_a_row_is_the_same_alone_and_in_any_batch() -> None:
    logits_BV = make_logits(33, 1000).numpy()
    together = host_statistics(logits_BV)
    for row in range(33):
        np.testing.assert_array_equal(host_statistics(logits_BV[row : row + 1])[0], together[row])


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "inf"])
def test_a_broken_row_is_nan_and_leaves_its_neighbours(bad: float) -> None:
    logits_BV = make_logits(3, 50).numpy()
    clean = host_statistics(logits_BV)
    logits_BV[1, 7] = bad
    statistics = host_statistics(logits_BV)
    assert np.isnan(statistics[1, [LOGSUMEXP, ENTROPY, SELF_CERTAINTY]]).all()
    np.testing.assert_array_equal(statistics[[0, 2]], clean[[0, 2]])


def test_a_row_without_a_finite_logit_is_nan() -> None:
    assert np.isnan(host_statistics(np.full((1, 4), -np.inf, dtype=np.float32))).all()


def test_strided_logits_are_read_as_they_are() -> None:
    wide = make_logits(4, 64).numpy()
    np.testing.assert_array_equal(
        host_statistics(wide[:, :40]), host_statistics(wide[:, :40].copy())
    )


def test_folding_equals_the_fold_of_the_kernels_step_values() -> None:
    """Several steps, rows out of order, tokens off the best: the two ways agree."""
    host, device = empty_states(6), empty_states(6)
    states, rows = np.array([4, 0, 2]), np.array([2, 0, 1])
    for seed in range(11):
        logits_BV = make_logits(3, 40, seed=seed)
        tokens_B = logits_BV.sort(dim=-1, descending=True).indices[:, seed % 5]
        original = KeptLogits(logits_BV, torch.arange(3, dtype=torch.int32))
        step = fold_sampled(row_statistics(logits_BV), tokens_B, None, None, original)
        values = step.double().numpy()
        fold_values(device, states.tolist(), values[rows])
        statistics = host_statistics(logits_BV.numpy())
        tokens = tokens_B.numpy()[rows]
        fold_host_step(
            host, states, rows, tokens, logits_BV.numpy(), statistics, np.zeros(3, np.bool_)
        )
    np.testing.assert_allclose(host, device, atol=1e-4, rtol=1e-5)
    np.testing.assert_array_equal(host[[1, 3, 5]], empty_states(3))


def test_a_forced_step_is_counted_and_leaves_the_rest_as_it_was() -> None:
    logits_BV = make_logits(2, 40).numpy()
    states, rows, tokens = np.array([1, 0]), np.array([0, 1]), np.array([3, 4])
    folded = empty_states(2)
    statistics_B4, forced_B = host_statistics(logits_BV), np.array([True, False])
    fold_host_step(folded, states, rows, tokens, logits_BV, statistics_B4, forced_B)
    expected = empty_states(2)
    expected[1, FORCED] = 1.0
    np.testing.assert_array_equal(folded[1], expected[1])
    assert folded[0, COUNT] == 1.0
    assert folded[0, FORCED] == 0.0


def test_a_token_without_a_row_has_no_values() -> None:
    """A negative number must not be taken for a row from the end: that is another answer's."""
    logits_BV = make_logits(2, 40).numpy()
    folded, none = empty_states(2), np.zeros(2, np.bool_)
    states, rows, tokens = np.array([0, 1]), np.array([-1, 0]), np.array([3, 4])
    fold_host_step(folded, states, rows, tokens, logits_BV, host_statistics(logits_BV), none)
    assert folded[:, COUNT].tolist() == [1.0, 1.0]
    logprobs = features(folded, np.array([3.0, 3.0]), np.zeros(2))[
        :, FEATURES.index("mean_logprob")
    ]
    assert np.isnan(logprobs).tolist() == [True, False]


class _Info(SimpleNamespace):
    """What the observer needs of SGLang's `SamplingBatchInfo`."""

    grammar_mask: Any = None
    logit_bias: Any = None
    has_custom_logit_processor = False
    has_watermark_candidates = False


@pytest.mark.parametrize(
    "info",
    [
        _Info(is_all_greedy=True),
        _Info(is_all_greedy=False),
        _Info(is_all_greedy=True, logit_bias=torch.ones(2, 30)),
    ],
    ids=["greedy", "sampled", "biased"],
)
def test_the_sampled_tokens_logprob_is_that_of_the_raw_logits(info: Any) -> None:
    """Whatever the sampler makes of its buffer before the step is folded."""
    logits_BV = make_logits(2, 30)
    raw = logits_BV.clone()
    state = HostObserver(Judge({})).before_grammar(logits_BV, info)
    assert isinstance(state, HostStep)
    if info.logit_bias is not None:
        logits_BV += info.logit_bias
    elif not info.is_all_greedy:
        logits_BV[:] = logits_BV.softmax(dim=-1)
    states = empty_states(2)
    both = np.arange(2)
    tokens = np.array([3, 29])
    fold_host_step(states, both, both, tokens, state.logits_BV, state.statistics_B4, state.forced_B)
    exact = [reference_logprob(raw[row].tolist(), token) for row, token in ((0, 3), (1, 29))]
    np.testing.assert_allclose(states[:, MIN_LOGPROB], exact, rtol=1e-9)


def test_the_device_decides_which_observer_is_built() -> None:
    judge = Judge({})
    assert isinstance(build_observer(judge, "cpu"), HostObserver)
    assert not isinstance(build_observer(judge, "cuda"), HostObserver)
