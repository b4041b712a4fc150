"""An H200 that is not there, for what only asks which card there is: imports, SGLang's resolver."""

from __future__ import annotations

import subprocess
import types
from typing import Any

import torch

NAME = "NVIDIA H200"
MEMORY_MIB = 143_771


def install() -> None:
    """Have this process see one card; no kernel can run on it."""
    properties = types.SimpleNamespace(
        name=NAME,
        major=9,
        minor=0,
        total_memory=MEMORY_MIB << 20,
        multi_processor_count=132,
        L2_cache_size=60 << 20,
        warp_size=32,
        max_threads_per_multi_processor=2048,
        shared_memory_per_block_optin=232_448,
        gcnArchName="",
        uuid="none",
    )
    cuda: Any = torch.cuda
    cuda.is_available = lambda: True
    cuda.device_count = lambda: 1
    cuda.current_device = lambda: 0
    cuda._lazy_init = lambda: None
    cuda.get_device_properties = lambda *_args, **_options: properties
    cuda.get_device_capability = lambda *_args, **_options: (9, 0)
    cuda.get_device_name = lambda *_args, **_options: NAME
    cuda.mem_get_info = lambda *_args: (MEMORY_MIB << 20, MEMORY_MIB << 20)
    run = subprocess.run

    def faked(command: Any, *args: Any, **options: Any) -> Any:
        words = command if isinstance(command, str) else " ".join(map(str, command))
        if "nvidia-smi" in words:
            return subprocess.CompletedProcess(command, 0, stdout=f"{MEMORY_MIB}\n", stderr="")
        return run(command, *args, **options)

    subprocess.run = faked  # type: ignore[assignment]
