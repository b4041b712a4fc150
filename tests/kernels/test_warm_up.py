"""warm_up: compiles every variant of a step."""

import importlib
from typing import Any

import pytest
import torch

from cascadia_kernels.fold_sampled import fold_sampled, fold_sampled_kernel
from cascadia_kernels.hidden_probe import (
    ProbeWeights,
    hidden_probe,
    probe_score_kernel,
    probe_units_kernel,
)
from cascadia_kernels.layout import KeptLogits
from cascadia_kernels.row_statistics import row_statistics, row_statistics_kernel
from cascadia_kernels.row_summary import row_summary, row_summary_kernel
from cascadia_kernels.token_values import token_values, token_values_kernel
from cascadia_kernels.verify_draft import first_disagreements_kernel, verify_draft
from cascadia_kernels.warm_up import warm_up

STEP = (row_statistics_kernel, fold_sampled_kernel, row_summary_kernel)
DRAFT = (row_statistics_kernel, token_values_kernel, first_disagreements_kernel)
SPECULATION = (row_statistics_kernel, token_values_kernel)
PROBE = (probe_units_kernel, probe_score_kernel)
MODULE = importlib.import_module("cascadia_kernels.warm_up")


def make_probe(device: torch.device | str) -> ProbeWeights:
    sizes = ((64,), (64,), (64, 16), (16,), (16,), (1,))
    return ProbeWeights(*(torch.zeros(size, device=device) for size in sizes))


def test_a_step_a_draft_and_a_probe_run_in_every_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every op that serving calls, with every set of optional arguments."""
    calls: set[tuple[str, tuple[bool, ...]]] = set()
    for op in ("row_statistics", "row_summary", "fold_sampled", "verify_draft", "hidden_probe"):
        right = getattr(MODULE, op)

        def record(*arguments: Any, op: str = op, right: Any = right) -> Any:
            calls.add((op, tuple(argument is not None for argument in arguments)))
            return torch.zeros(2) if op == "hidden_probe" else right(*arguments)

        monkeypatch.setattr(MODULE, op, record)
    warm_up("cpu", 20, probes=[make_probe("cpu")])
    steps = {(sampled, sampled, is_kept) for sampled in (False, True) for is_kept in (False, True)}
    expected = {("fold_sampled", (True, True, *step)) for step in steps}
    expected |= {
        (op, (True, given)) for op in ("row_statistics", "row_summary") for given in (0, 1)
    }
    expected |= {("verify_draft", (True,) * 3), ("hidden_probe", (True, True))}
    assert calls == expected


@pytest.mark.parametrize(("columns", "strides"), [(32, {32}), (40, {40, 48})])
def test_rows_that_are_cut_from_padded_ones_are_warmed_up_too(
    columns: int, strides: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stride that 16 divides is another variant of a kernel."""
    right, launched_strides = MODULE.row_statistics, set()

    def record(logits_BV: torch.Tensor, *rest: Any) -> Any:
        launched_strides.add(logits_BV.stride(0))
        return right(logits_BV, *rest)

    monkeypatch.setattr(MODULE, "row_statistics", record)
    warm_up("cpu", columns)
    assert launched_strides == strides


@pytest.mark.parametrize("speculates", [False, True])
def test_every_variant_of_a_step_runs(speculates: bool, device: torch.device) -> None:
    warm_up(device, 20, token_dtypes=(torch.int64,), speculates=speculates)


def test_speculative_steps_run_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the types of SGLang's verification: int32 for the ids and for the accepted rows."""
    right, launched_dtypes = MODULE.token_values, list[Any]()

    def record(*arguments: Any) -> Any:
        launched_dtypes.append([argument.dtype for argument in arguments[1:]])
        return right(*arguments)

    monkeypatch.setattr(MODULE, "token_values", record)
    warm_up("cpu", 32)
    assert launched_dtypes == []
    warm_up("cpu", 32, speculates=True)
    assert launched_dtypes == [[torch.float32, torch.int32, torch.int32]]


def compiled(kernels: tuple[Any, ...]) -> int:
    """Compiled variants of some kernels on the current device."""
    return sum(len(kernel.device_caches[torch.cuda.current_device()][0]) for kernel in kernels)


@pytest.mark.gpu
@pytest.mark.parametrize("tempered", [False, True], ids=["greedy", "tempered"])
@pytest.mark.parametrize("height", [1, 5, 16])
def test_a_step_after_it_compiles_nothing(height: int, tempered: bool) -> None:
    warm_up("cuda", 151936)
    before = compiled(STEP)
    assert before > 0
    logits_BV = torch.randn(height, 151936, device="cuda")
    temperature_B = torch.full((height,), 0.7, device="cuda") if tempered else None
    statistics = row_statistics(logits_BV, temperature_B)
    row_summary(statistics, temperature_B)
    token_ids_B = torch.zeros(height, dtype=torch.int64, device="cuda")
    places_B = torch.zeros(height, dtype=torch.int32, device="cuda")
    for original in (None, KeptLogits(logits_BV[:1].clone(), places_B)):
        buffer_BV = logits_BV if tempered else None
        fold_sampled(statistics, token_ids_B, buffer_BV, temperature_B, original)
    assert compiled(STEP) == before


@pytest.mark.gpu
@pytest.mark.parametrize("height", [1, 5, 16])
def test_a_probe_after_it_compiles_nothing(height: int) -> None:
    weights = make_probe("cuda")
    warm_up("cuda", 151936, probes=[weights])
    before = compiled(PROBE)
    assert before > 0
    hidden_probe(torch.zeros(height, 64, dtype=torch.bfloat16, device="cuda"), weights)
    assert compiled(PROBE) == before


@pytest.mark.gpu
@pytest.mark.parametrize("drafts", [1, 5])
def test_a_draft_after_it_compiles_nothing(drafts: int) -> None:
    warm_up("cuda", 151936)
    before = compiled(DRAFT)
    assert before > 0
    logits_NV = torch.randn(16 * drafts, 151936, device="cuda")
    token_ids_N = torch.zeros(16 * drafts, dtype=torch.int64, device="cuda")
    verify_draft(logits_NV, token_ids_N, torch.arange(drafts + 1, device="cuda") * 16)
    assert compiled(DRAFT) == before


@pytest.mark.gpu
@pytest.mark.parametrize(("requests", "depth"), [(1, 4), (7, 9)])
def test_a_speculative_step_after_it_compiles_nothing(requests: int, depth: int) -> None:
    warm_up("cuda", 151936, speculates=True)
    before = compiled(SPECULATION)
    assert before > 0
    nodes = requests * depth
    logits_BV = torch.randn(nodes, 151936, device="cuda")
    token_ids_B = torch.zeros(nodes, dtype=torch.int32, device="cuda")
    rows_R = torch.arange(nodes, dtype=torch.int32, device="cuda")
    statistics = row_statistics(logits_BV, rows_R=rows_R)
    token_values(statistics, logits_BV, token_ids_B, rows_R)
    assert compiled(SPECULATION) == before
