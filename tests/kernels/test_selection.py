"""The 16 best of a row, where a bound on them is hard to find: ties, order, few columns, rows of
infinities. Every case needs the bound raised, or a full set of places."""

from collections.abc import Callable

import pytest
import torch
import triton

from cascadia_kernels import row_statistics, row_summary

ROWS: dict[str, Callable[[int], torch.Tensor]] = {
    "constant": lambda v: torch.full((v,), 2.5),
    "rising": lambda v: torch.arange(v, dtype=torch.float32),
    "falling": lambda v: -torch.arange(v, dtype=torch.float32),
    "two-values": lambda v: (torch.arange(v) % 3 == 0).float(),
    "one-lane": lambda v: (
        torch.where(torch.arange(v) % 512 == 7, 50.0, 0.0) + torch.arange(v) % 97 / 97.0
    ),
    "bfloat16-steps": lambda v: (
        torch.randn(v, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    ),
    "zeros-of-both-signs": lambda v: torch.where(torch.arange(v) % 2 == 0, 0.0, -0.0),
    "masked": lambda v: torch.full((v,), float("-inf")).index_fill(
        0, torch.tensor([3, v - 1]), 1.0
    ),
    "lowest": lambda v: torch.full((v,), torch.finfo(torch.float32).min),
}


@pytest.mark.parametrize(
    "width", [33, 9001, 20000] if triton.knobs.runtime.interpret else [33, 9001, 151936]
)
@pytest.mark.parametrize("kind", ROWS)
def test_the_best_logits_are_found_in_any_row(kind: str, width: int, device: torch.device) -> None:
    logits_BV = ROWS[kind](width).unsqueeze(0)
    summary = row_summary(row_statistics(logits_BV.to(device)))
    expected = logits_BV.sort(dim=-1, descending=True).values[:, :16]
    ids_BK = summary.best_ids_BK.cpu()
    assert torch.equal(summary.best_logits_BK.cpu(), expected)
    assert torch.equal(logits_BV.gather(1, ids_BK), expected)
    assert len(set(ids_BK[0].tolist())) == 16
