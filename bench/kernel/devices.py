"""How the kernel bench runs and times work: on a CUDA device; on a CPU to try the bench itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import torch

Work = Callable[[], object]


class Device(Protocol):
    """What the bench needs of a machine."""

    device: torch.device
    name: str
    cache_bytes: int  # of the last level before memory

    def replay_us(self, works: Sequence[Work], repetitions: int) -> list[float]:
        """Device time of one pass over the works, captured once and replayed, a repetition each."""
        ...

    def host_us(self, works: Sequence[Work]) -> list[float]:
        """Host time to launch each work eagerly."""
        ...


class CudaDevice:
    """The current CUDA device."""

    def __init__(self) -> None:
        self.device = torch.device("cuda")
        properties = torch.cuda.get_device_properties(self.device)
        self.name = properties.name
        self.cache_bytes = properties.L2_cache_size

    def replay_us(self, works: Sequence[Work], repetitions: int) -> list[float]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what compiles does so before the capture
            for work in works[:3]:
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for work in works:
                work()
        for _ in range(2):
            graph.replay()
        ends = [torch.cuda.Event(enable_timing=True) for _ in range(repetitions + 1)]
        ends[0].record()
        for end in ends[1:]:
            graph.replay()
            end.record()
        torch.cuda.synchronize()
        return [1000.0 * start.elapsed_time(end) for start, end in pairwise(ends)]

    def host_us(self, works: Sequence[Work]) -> list[float]:
        works[0]()
        torch.cuda.synchronize()
        times = []
        for index, work in enumerate(works):
            if index % 16 == 0:
                torch.cuda.synchronize()  # a full launch queue would make the host wait
            start = time.perf_counter()
            work()
            times.append(1e6 * (time.perf_counter() - start))
        torch.cuda.synchronize()
        return times


class HostDevice:
    """The CPU under Triton's interpreter: the bench's own path without a device; no measurement."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.name = "interpreter"
        self.cache_bytes = 0

    def replay_us(self, works: Sequence[Work], repetitions: int) -> list[float]:
        return [sum(self.host_us(works)) for _ in range(repetitions)]

    def host_us(self, works: Sequence[Work]) -> list[float]:
        times = []
        for work in works:
            start = time.perf_counter()
            work()
            times.append(1e6 * (time.perf_counter() - start))
        return times
