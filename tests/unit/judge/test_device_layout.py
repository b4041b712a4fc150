"""The kernels, which may not import the judge, have its columns and features in its order."""

import cascadia_kernels
from cascadia_sglang.judge import state
from cascadia_sglang.judge.features import FEATURES


def test_the_kernels_know_the_judges_features() -> None:
    assert cascadia_kernels.FEATURES == FEATURES


def test_the_kernels_keep_the_judges_state() -> None:
    columns = cascadia_kernels.STATE_COLUMNS
    assert len(columns) == state.STATE_COLUMNS
    named = {
        "count": state.COUNT,
        "known": state.KNOWN,
        "sum_logprob": state.SUM_LOGPROB,
        "sum_entropy": state.SUM_ENTROPY,
        "sum_margin": state.SUM_MARGIN,
        "sum_self_certainty": state.SUM_SELF_CERTAINTY,
        "min_logprob": state.MIN_LOGPROB,
        "min_margin": state.MIN_MARGIN,
        "min_self_certainty": state.MIN_SELF_CERTAINTY,
        "max_entropy": state.MAX_ENTROPY,
        "tail_0": state.TAIL,
        "forced": state.FORCED,
    }
    assert {name: columns.index(name) for name in named} == named
