"""SGLang platform for hosts without an accelerator: plain PyTorch on the CPU.

SGLang's own CPU path needs AMX instructions and its CPU wheel. This platform makes the ordinary
wheel serve on any x86 or Arm CPU through the native (PyTorch) forwards.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from sglang.srt.platforms.cpu import CpuDeviceMixin
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import SRTPlatform

QUALIFIED_NAME = "cascadia_sglang.platform.NativeCpuPlatform"
ENTRY_POINT = "cascadia_cpu"


class NativeCpuPlatform(CpuDeviceMixin, SRTPlatform):
    """Serves with PyTorch's native operators on the CPU."""

    _enum = PlatformEnum.OOT

    def get_default_attention_backend(self) -> str:
        return "torch_native"

    def get_dispatch_key_name(self) -> str:
        return "native"

    def get_device(self, device_id: int = 0) -> str:
        """The name, as the base class says; the CPU mixin's `torch.device` breaks the defaults."""
        del device_id
        return "cpu"

    def get_torch_profiler_activity_str(self) -> str:
        return "CPU"

    def get_torch_profiler_activity(self) -> torch.profiler.ProfilerActivity:
        return torch.profiler.ProfilerActivity.CPU

    # NGRAM speculation: SGLang's ordinary wheel has its operations for accelerators alone.

    def get_speculative_worker_cls(self, algorithm: str) -> type | None:
        """SGLang's own worker, once what it lacks on this host is there."""
        if algorithm != "NGRAM":
            return None
        from cascadia_sglang.cpu_speculation.install import ngram_worker

        return ngram_worker()

    def get_speculative_cache_locs_fn(self) -> Callable[..., torch.Tensor]:
        from cascadia_sglang.cpu_speculation.cache_slots import slots_of

        return slots_of

    def get_kv_pool_cls(self, *, kind: str) -> type | None:
        """A pool whose rows can be moved, which speculation alone asks for."""
        from sglang.srt.runtime_context import get_spec

        if kind != "mha" or get_spec().speculative_algorithm is None:
            return None
        from cascadia_sglang.cpu_speculation.kv_pool import HostKvPool

        return HostKvPool

    def apply_server_args_defaults(self, server_args: Any) -> None:
        """Idle workers sleep: polling schedulers would hold the cores that serve.

        The key-value pool takes its share of the host's memory at once, so SGLang's default for
        an accelerator of its own would leave the host none. A model in bf16 is computed in fp32
        where the CPU has no instructions for bf16: PyTorch's substitute takes ten times as long.
        """
        # Where SGLang serves without a cascade on another device, none of this is loaded.
        from cascadia_sglang.memory.host_cpu import HOST_MEMORY_SHARE, has_bf16_instructions

        server_args.sleep_on_idle = True
        if server_args.dtype == "auto" and not has_bf16_instructions():
            server_args.dtype = "float32"
        if server_args.mem_fraction_static is None:
            server_args.mem_fraction_static = HOST_MEMORY_SHARE


def activate() -> str | None:
    """SGLang's entry point: the platform's name, or None where this host has a better one.

    None where an accelerator is present, where SGLANG_USE_CPU_ENGINE=1 asks for SGLang's own CPU
    path, and where SGLANG_PLATFORM selects another plugin.
    """
    if os.environ.get("SGLANG_PLATFORM", ENTRY_POINT) not in ("", ENTRY_POINT):
        return None
    if os.environ.get("SGLANG_USE_CPU_ENGINE", "0") == "1" or _has_accelerator():
        return None
    return QUALIFIED_NAME


def _has_accelerator() -> bool:
    if torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available():
        return True
    return any(hasattr(torch, name) for name in ("npu", "musa", "hpu"))
