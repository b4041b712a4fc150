"""SGLang platform of the checks: a CUDA device, but PyTorch's and Triton's operators alone.

A bare CUDA machine has none of SGLang's compiled kernels. Scheduler, overlap, graphs, allocators
and hooks are the real ones; the speed of the operators is not that of a full installation.
"""

from __future__ import annotations

import torch
from sglang.srt.platforms.cuda import CudaDeviceMixin
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import PlatformCapabilities, SRTPlatform


class NativeCudaPlatform(CudaDeviceMixin, SRTPlatform):
    """Serves on a CUDA device with native operators and Triton's attention."""

    _enum = PlatformEnum.OOT
    capabilities = PlatformCapabilities(
        supports_triton=True, graph_capture=True, piecewise_graph=True
    )

    def get_default_attention_backend(self) -> str:
        return "triton"

    def get_dispatch_key_name(self) -> str:
        return "native"

    def get_capabilities(self) -> PlatformCapabilities:
        return self.capabilities


def activate() -> str | None:
    """SGLang's entry point: this platform where there is a CUDA device, else none."""
    if not torch.cuda.is_available():
        return None
    return "bench.gpu_check.bare_machine.native_platform.NativeCudaPlatform"
