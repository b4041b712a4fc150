"""AFTER hook on get_device_memory_capacity: a worker's share of a device stands for a whole one.

Upstream: the size of the smallest device, by which SGLang chooses the tokens of a prefill, the
largest captured batch, and what it keeps free for both.
We need: the same by the part of the device that the worker has, in the process that resolves its
arguments and in its own.
"""

from collections.abc import Callable
from typing import Protocol

from cascadia_patches.spec import PatchSpec


class Part(Protocol):
    """A worker's part of its devices."""

    @property
    def share(self) -> float:
        """In (0, 1]."""
        ...


def _build(part: Part) -> Callable[..., float | None]:
    def of_share(size_mib: float | None, *_: object, **__: object) -> float | None:
        return None if size_mib is None else size_mib * part.share

    return of_share


PATCH = PatchSpec(
    target="sglang.srt.utils.common.get_device_memory_capacity",
    hook_type="after",
    kind="function",
    parameters=("device",),
    build=_build,
    reason="workers that share a device would each keep free what one alone needs",
    drop_when="SGLang takes a share of a device as an argument",
)
