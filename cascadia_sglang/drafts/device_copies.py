"""Copies between the host and an accelerator for which neither side waits at once."""

from collections.abc import Sequence

import torch

# Triton compiles a variant for pointers that are not multiples of 16 bytes: two int64.
_ALIGNED = 2


def host_buffer(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Host memory that the device can copy from and to by itself, [size], unset."""
    return torch.empty(size, dtype=dtype, pin_memory=device.type == "cuda")


def to_device(lists: Sequence[Sequence[int]], device: torch.device) -> list[torch.Tensor]:
    """Lists of integers on a device, int64, in one copy; does not wait for the device."""
    flat: list[int] = []
    spans: list[slice] = []
    for numbers in lists:
        flat.extend([0] * (-len(flat) % _ALIGNED))
        spans.append(slice(len(flat), len(flat) + len(numbers)))
        flat.extend(numbers)
    on_host = host_buffer(len(flat), torch.int64, device)
    on_host.copy_(torch.tensor(flat, dtype=torch.int64))
    on_device = on_host.to(device, non_blocking=True)
    return [on_device[span] for span in spans]


class HostCopy:
    """A copy of a device's tensor to the host, under way."""

    def __init__(self, tensor: torch.Tensor) -> None:
        """Queue a copy of a tensor of one dimension on its device; return at once."""
        self._on_host = host_buffer(len(tensor), tensor.dtype, tensor.device)
        self._on_host.copy_(tensor, non_blocking=True)
        self._done = torch.get_device_module(tensor.device).Event()
        self._done.record()

    def wait(self) -> torch.Tensor:
        """Wait for the copy."""
        self._done.synchronize()
        return self._on_host
