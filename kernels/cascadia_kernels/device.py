"""Which form of an op a tensor gets."""

import torch
import triton


def runs_triton(tensor: torch.Tensor) -> bool:
    """Whether ops on this tensor are Triton kernels: off the CPU, and in Triton's interpreter."""
    return tensor.device.type != "cpu" or bool(triton.knobs.runtime.interpret)


def check_runs_triton(op: str, tensor: torch.Tensor) -> None:
    """Refuse a CPU tensor where an op has a Triton form alone.

    Raises:
        ValueError: names the op and the device.
    """
    if not runs_triton(tensor):
        raise ValueError(f"{op} runs on an accelerator, got a tensor on {tensor.device}")
