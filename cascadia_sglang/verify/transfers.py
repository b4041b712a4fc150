"""Copies between the host and an accelerator that neither side waits for at once."""

from collections.abc import Sequence

import torch

# Triton compiles a kernel anew for a pointer that is not a multiple of 16 bytes: two int64.
_ALIGNED = 2


def host_buffer(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Memory of the host that the device copies from and to by itself, [size], unset."""
    return torch.empty(size, dtype=dtype, pin_memory=device.type == "cuda")


def to_device(lists: Sequence[Sequence[int]], device: torch.device) -> list[torch.Tensor]:
    """Some lists of integers on a device, int64, one copy for all; nothing waits for the device."""
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
    """A device's tensor on its way to the host."""

    def __init__(self, tensor: torch.Tensor) -> None:
        """Copy a tensor of one dimension behind what its device has to do; return at once."""
        self._on_host = host_buffer(len(tensor), tensor.dtype, tensor.device)
        self._on_host.copy_(tensor, non_blocking=True)
        self._done = torch.get_device_module(tensor.device).Event()
        self._done.record()

    def wait(self) -> torch.Tensor:
        """The copy, once it is there."""
        self._done.synchronize()
        return self._on_host
