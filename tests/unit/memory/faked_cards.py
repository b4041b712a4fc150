"""Starts a cascade server on accelerators that are not there, up to the launch of each worker.

python -m tests.unit.memory.faked_cards COUNT MIB [flags of the server]   # prints a JSON list

PyTorch says that there are so many H100 of so many MiB each. What would start a worker's processes
notes how, and the worker counts as ready, so that those that wait for its device are started too.
"""

import argparse
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from typing import Any

ABSENT = ("sgl_kernel", "flashinfer", "deep_gemm", "flash_attn", "deep_ep", "quack", "cutlass")


class Anything:
    """Whatever is asked of a library that is not here."""

    def __getattr__(self, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) else Anything()

    def __mro_entries__(self, _: Any) -> tuple[type, ...]:
        return (object,)


class AbsentLibraries(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the compiled libraries that SGLang imports on CUDA alone."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        del path, target
        if name.split(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = Anything().__getattr__  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def fake_cards(count: int, mib: int) -> None:
    """Let PyTorch, the driver's library and `nvidia-smi` show so many devices."""
    import subprocess

    import pynvml
    import torch

    class Properties:
        name, major, minor, total_memory = "NVIDIA H100", 9, 0, mib * 2**20
        multi_processor_count, warp_size, L2_cache_size = 132, 32, 50 * 2**20
        shared_memory_per_block_optin, gcnArchName, is_integrated = 232448, "", False

    cuda = torch.cuda
    cuda.is_available = lambda: True
    cuda.device_count = lambda: count
    cuda.current_device = lambda: 0
    cuda.get_device_properties = lambda *_, **__: Properties()
    cuda.get_device_capability = lambda *_, **__: (9, 0)
    cuda.get_device_name = lambda *_, **__: Properties.name
    cuda._lazy_init = lambda: None
    pynvml.nvmlInit = pynvml.nvmlShutdown = lambda: None
    pynvml.nvmlDeviceGetCount = lambda: count
    pynvml.nvmlDeviceGetHandleByIndex = lambda number: number
    pynvml.nvmlDeviceGetUUID = lambda number: f"GPU-{number}"
    pynvml.nvmlDeviceGetName = lambda _: Properties.name
    size = types.SimpleNamespace(total=mib * 2**20, free=mib * 2**20)
    pynvml.nvmlDeviceGetMemoryInfo = lambda _: size
    run = subprocess.run

    def faked_run(command: Any, *arguments: Any, **options: Any) -> Any:
        if "nvidia-smi" in str(command):
            return subprocess.CompletedProcess(command, 0, f"{mib}\n" * count, "")
        return run(command, *arguments, **options)

    subprocess.run = faked_run


class StartReport:
    """What a start of processes is noted as."""

    def __init__(self) -> None:
        self.scheduler_infos: list[dict[str, int]] = []


def launched(arguments: list[str]) -> list[dict[str, Any]]:
    """How each worker of a server with these flags would be started, in the order of the starts."""
    from sglang.srt.arg_groups.overrides import resolved_view
    from sglang.srt.plugins import load_plugins
    from sglang.srt.runtime_context import create_context, use_context
    from sglang.srt.server_args import PortArgs, ServerArgs

    load_plugins()
    import cascadia_sglang.server.server as server_module
    from cascadia_sglang.sglang_state import WORKER_SPEC

    servers: list[Any] = []
    build = server_module.CascadeServer.__init__

    def noted(self: Any, *arguments: Any, **options: Any) -> None:
        build(self, *arguments, **options)
        servers.append(self)

    server_module.CascadeServer.__init__ = noted  # type: ignore[method-assign]
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    server_args = ServerArgs.from_cli_args(parser.parse_args(arguments))
    server_args.resolve_once()
    rows: list[dict[str, Any]] = []

    def start_group(args: Any, _: Any, __: Any) -> tuple[Any, list[Any]]:
        view, spec = resolved_view(args), WORKER_SPEC.expect(args)
        share = spec.device_share
        rows.append(
            {
                "worker": spec.worker_id,
                "device": args.base_gpu_id,
                "step": args.gpu_id_step,
                "ranks": args.tp_size * args.pp_size,
                "platform": view.device,
                "mem_fraction_static": view.mem_fraction_static,
                "chunked_prefill_size": view.chunked_prefill_size,
                "captured_rows": view.cuda_graph_config.decode.max_bs,
                "share": None if share is None else share.share,
                "share_gb": None if share is None else round(share.free_bytes / 1e9, 1),
                "host_gb": None if spec.host_free_bytes is None else "of the host",
                "cores": spec.environment.get("SGLANG_CPU_OMP_THREADS_BIND"),
                "mark": spec.environment.get("FAKED_CARDS_MARK"),
            }
        )
        return StartReport(), []

    server = servers[0]
    with use_context(create_context(server_args, role="tokenizer")):
        workers = server.launch(start_group, PortArgs.init_new(server_args))
        for worker in workers:
            rows.append({"ready": worker.worker_id})
            server.pool.admit(worker, worker.handle.limits)
            workers += server.fleet._starts.further()
    return rows


def main() -> None:
    """Print what would be started."""
    count, mib = int(sys.argv[1]), int(sys.argv[2])
    if count:
        sys.meta_path.insert(0, AbsentLibraries())
        fake_cards(count, mib)
    rows = launched(sys.argv[3:])
    print("LAUNCHED " + json.dumps(rows), flush=True)
    # Threads of the server's parts, and the fork server, end with this process.
    os._exit(0)


if __name__ == "__main__":
    main()
