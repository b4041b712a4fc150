"""Muon: momentum whose matrices are made orthogonal before they are applied.

As `torch.optim.Muon` (adjust_lr_fn="match_rms_adamw"), which iterates in bf16, one matrix after
another: half of a training step on a CPU without bf16 instructions. Here matrices of one shape go
together, in the precision that this CPU computes fastest.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from demo.train.gradient import precision

MOMENTUM = 0.95
ITERATIONS = 5
# Of the quintic iteration X <- aX + b(XX')X + c(XX')²X (Keller Jordan, "Muon", 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EPSILON = 1e-7


def orthogonal(matrices_NRC: Tensor) -> Tensor:
    """Each matrix [R, C] with its singular values brought near 1; same shape, in `precision()`."""
    a, b, c = COEFFICIENTS
    x = matrices_NRC.to(precision())
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.transpose(1, 2)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if is_tall else x


class Muon(torch.optim.Optimizer):
    """For matrices; the update's size is that of AdamW's (arXiv 2502.16982, section 2.2)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                by_shape.setdefault(parameter.shape, []).append(parameter)
            for (rows, columns), matrices in by_shape.items():
                updates_NRC = orthogonal(torch.stack([self._momentum(m) for m in matrices]))
                size = group["lr"] * 0.2 * max(rows, columns) ** 0.5
                for matrix, update in zip(matrices, updates_NRC, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update, alpha=-size)

    def _momentum(self, matrix: Tensor) -> Tensor:
        """The Nesterov momentum of a matrix's gradient."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(buffer, MOMENTUM)
