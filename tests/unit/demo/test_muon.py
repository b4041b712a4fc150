"""Our Muon against PyTorch's, which iterates in bf16."""

import pytest
import torch

from demo.train.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 24, 16), (3, 16, 24), (1, 16, 16)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_steps_are_those_of_pytorchs_muon_within_its_precision():
    torch.manual_seed(0)
    start = [torch.randn(16, 24), torch.randn(16, 24), torch.randn(32, 8)]
    ours = [torch.nn.Parameter(m.clone()) for m in start]
    theirs = [torch.nn.Parameter(m.clone()) for m in start]
    optimizer = Muon(ours, lr=0.01)
    other = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            its.grad = mine.grad.clone()
        optimizer.step()
        other.step()
    for mine, its, begin in zip(ours, theirs, start, strict=True):
        moved = (mine - begin).norm()
        assert (mine - its).norm() < 0.03 * moved
