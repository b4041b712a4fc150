"""Starts a server's workers on another machine, with the launcher of a host."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from pathlib import Path

import msgspec
import torch
from sglang.srt.entrypoints.engine import Engine
from sglang.srt.platforms import current_platform
from sglang.srt.server_args import PortArgs, ServerArgs

from cascadia_sglang.capacity.types import Node
from cascadia_sglang.cluster.wire import NodeFacts, NodeOrder, WorkerOrder
from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.launch.device_memory import whole_devices
from cascadia_sglang.launch.launcher import LocalLauncher, RemoteSockets
from cascadia_sglang.launch.scheduler_group import SchedulerGroup
from cascadia_sglang.launch.this_host import node_launcher, this_node
from cascadia_sglang.processes.logs import worker_logs
from cascadia_sglang.worker.emulated_pace import pace_specs


class ServersLauncher:
    """Starts one server's workers here. Implements `agent.NodeLauncher`."""

    def __init__(
        self,
        launcher: LocalLauncher,
        config: CascadeConfig,
        files: tempfile.TemporaryDirectory[str],
    ) -> None:
        """`files` is a folder of the files that workers read."""
        self._launcher = launcher
        self._pools = {pool.name: pool for pool in pool_specs(config)}
        self._files = files

    def start(self, order: WorkerOrder) -> SchedulerGroup:
        resolved = self._launcher.resolved(self._pools[order.pool], order.number, order.replica)
        sockets = RemoteSockets(input_address=order.input_address, load_address=order.load_address)
        return self._launcher.start(dataclasses.replace(resolved, sockets=sockets))

    def end(self) -> None:
        self._launcher.end()
        self._files.cleanup()


def open_launcher(order: NodeOrder) -> tuple[ServersLauncher, NodeFacts]:
    """A launcher of this node's workers, and what the node has.

    Raises:
        ConfigError: if a model is not on this node, or does not fit its memory.
    """
    _check_models(order.config)
    files = tempfile.TemporaryDirectory(prefix="cascadia-files-")
    config = _with_files(order, Path(files.name))
    namespace = copy.copy(order.namespace)
    # Of the server's host.
    namespace.base_gpu_id, namespace.gpu_id_step = 0, 1
    name = f"{namespace.port}-node-{order.number}"
    logs = worker_logs(None, name, is_debug=order.is_debug)
    arguments = TierArguments(namespace, config, ServerArgs.from_cli_args, order.probed, logs)
    node = _node(arguments, order.devices)
    launcher = node_launcher(
        config,
        arguments,
        pace_specs(config),
        Engine._launch_scheduler_processes,
        _server_ports(order),
        lambda tier: order.detokenizers[tier],
        node,
        whole_devices(),
    )
    facts = NodeFacts(gpu=node.gpu, devices=node.devices, memory_gib=node.memory_gib)
    return ServersLauncher(launcher, config, files), facts


def _node(arguments: TierArguments, devices: int) -> Node:
    """This host, with so many of its devices.

    Raises:
        ConfigError: if it has fewer accelerators.
    """
    node = this_node(arguments)
    if current_platform.device_type != "cpu" and torch.cuda.device_count() < devices:
        raise ConfigError(
            f"cluster.gpus_per_node is {devices}, there are {torch.cuda.device_count()}"
        )
    return msgspec.structs.replace(node, devices=devices)


def _check_models(config: CascadeConfig) -> None:
    for key, model in config.models().items():
        if Path(model).is_absolute() and not Path(model).exists():
            raise ConfigError(f"{key}: {model!r} does not exist there")


def _with_files(order: NodeOrder, folder: Path) -> CascadeConfig:
    """The cascade with the paths of its files here, where the server has put their names."""
    for name, content in order.files.items():
        (folder / name).write_bytes(content)

    def path(name: str | None) -> str | None:
        return str(folder / name) if name in order.files else name

    config: CascadeConfig = order.config
    tiers = [
        msgspec.structs.replace(
            tier,
            calibration=path(tier.calibration),
            draft_calibration=path(tier.draft_calibration),
        )
        for tier in config.tiers
    ]
    planner = msgspec.structs.replace(config.planner, emulate=path(config.planner.emulate))
    return msgspec.structs.replace(config, tiers=tiers, planner=planner)


def _server_ports(order: NodeOrder) -> PortArgs:
    """The server's sockets that workers connect to; it has no other on this node."""
    return PortArgs(
        tokenizer_ipc_name=order.tokenizer,
        scheduler_input_ipc_name="",
        detokenizer_ipc_name=order.detokenizers[0],
        nccl_port=0,
        rpc_ipc_name="",
        metrics_ipc_name="",
        tokenizer_worker_ipc_name=None,
        decoupled_spec_ipc_config=None,
    )
