"""The accelerators of a host, and the memory of each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pynvml

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.speed.roofline import GPUS

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An accelerator; `free_bytes` counts what other processes leave."""

    name: str
    total_bytes: float
    free_bytes: float


def seen_cards() -> list[Card]:
    """NVIDIA's accelerators that this process may use, by their numbers there.

    Empty where there is no driver. Nothing is started on them.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(number)
            for number in range(pynvml.nvmlDeviceGetCount())
        ]
        visible = _visible([pynvml.nvmlDeviceGetUUID(handle) for handle in handles])
        return [_card(handles[number]) for number in visible]
    finally:
        pynvml.nvmlShutdown()


def sheet_cards(count: int, gpu: str) -> list[Card]:
    """So many accelerators of a type, with the memory of its data sheet.

    Raises:
        ConfigError: for a type that is not known.
    """
    if gpu not in GPUS:
        raise ConfigError(f"gpu {gpu!r} is not known, known: {', '.join(GPUS)}")
    if count < 1:
        raise ConfigError(f"gpus is {count}, allowed: 1 or more")
    memory_bytes = GPUS[gpu].memory_gb * 1e9
    return [Card(name=gpu, total_bytes=memory_bytes, free_bytes=memory_bytes)] * count


def _card(handle: object) -> Card:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Card(
        name=pynvml.nvmlDeviceGetName(handle),
        total_bytes=float(memory.total),
        free_bytes=float(memory.free),
    )


def _visible(uuids: Sequence[str]) -> list[int]:
    """Numbers in the driver's order, in the order in which CUDA numbers them for this process."""
    visible = os.environ.get(_VISIBLE)
    if visible is None:
        return list(range(len(uuids)))
    numbers: list[int] = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name.isdecimal():
            matches = [int(name)] if int(name) < len(uuids) else []
        else:
            matches = [number for number, uuid in enumerate(uuids) if uuid.startswith(name)]
        if not matches:
            # As CUDA does: what comes after an unknown one is not seen.
            break
        numbers.append(matches[0])
    return numbers
