"""warm_up: compiles every variant of a step."""

from typing import Any

import pytest
import torch

from cascadia_kernels import fold_sampled, row_statistics, verify_draft, warm_up
from cascadia_kernels.fold_sampled import fold_sampled_kernel
from cascadia_kernels.row_statistics import row_statistics_kernel
from cascadia_kernels.verify_draft import draft_rows_kernel, first_disagreements_kernel

STEP = (row_statistics_kernel, fold_sampled_kernel)
DRAFT = (row_statistics_kernel, draft_rows_kernel, first_disagreements_kernel)


def test_every_variant_of_a_step_runs(device: torch.device) -> None:
    warm_up(device, 20, token_dtypes=(torch.int64,))


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
    token_ids_B = torch.zeros(height, dtype=torch.int64, device="cuda")
    fold_sampled(statistics, token_ids_B, logits_BV if tempered else None, temperature_B)
    assert compiled(STEP) == before


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
