"""A start's seconds, split by SGLang's own account of it."""

import pytest

from cascadia_sglang.launch.start_phases import PHASES, start_phases


def account(e2e: float, weights: float, pool: float, **graphs: float) -> dict[str, object]:
    return {
        "scheduler_e2e": e2e,
        "load_weight": weights,
        "kv_cache_allocation": pool,
        "cuda_graph": graphs,
    }


def test_the_phases_are_the_whole_start_and_the_slowest_rank_counts() -> None:
    ranks = [account(5.0, 1.0, 0.5, decode=2.0), account(6.0, 2.5, 0.25, decode=1.0, prefill=0.5)]
    phases = start_phases(8.0, ranks)
    assert tuple(phases) == PHASES
    assert sum(phases.values()) == pytest.approx(8.0)
    assert phases == pytest.approx(
        {"process": 2.0, "scheduler": 0.5, "weights": 2.5, "kv_pool": 0.5, "graphs": 2.5}
    )


def test_without_an_account_all_of_it_is_the_process() -> None:
    phases = start_phases(3.0, [None])
    assert phases["process"] == 3.0
    assert sum(phases.values()) == 3.0
