"""The launcher of this host's workers, and what this host has for them."""

import torch
from sglang.srt.platforms import current_platform
from sglang.srt.server_args import PortArgs

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.types import Node
from cascadia_sglang.config.escalation import ranked_tiers
from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.probes import hidden_recording_tiers
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.launch.arguments import TierArguments, worker_threads
from cascadia_sglang.launch.device_memory import DeviceMemory, device_memory, host_devices
from cascadia_sglang.launch.launcher import DetokenizerOf, LocalLauncher, StartGroup
from cascadia_sglang.memory.cards import seen_cards
from cascadia_sglang.memory.host import HostFlags, host_memory
from cascadia_sglang.messages import JudgeSpec, PaceSpec

# More workers than a host serves.
HOST_DEVICES = 128


def launcher_of(
    config: CascadeConfig,
    arguments: TierArguments,
    paces: dict[int, PaceSpec],
    start_group: StartGroup,
    server_ports: PortArgs,
    detokenizer_of: DetokenizerOf,
) -> LocalLauncher:
    """The launcher of a cascade whose workers all run on this host.

    Raises:
        CascadiaError: if the models do not fit the memory, or the workers find no devices; names
            the tier, what it needs and what there is.
    """
    node = this_node(arguments)
    places = host_devices if current_platform.device_type == "cpu" else device_memory
    devices = places(arguments, pool_specs(config), node)
    return node_launcher(
        config, arguments, paces, start_group, server_ports, detokenizer_of, node, devices
    )


def node_launcher(
    config: CascadeConfig,
    arguments: TierArguments,
    paces: dict[int, PaceSpec],
    start_group: StartGroup,
    server_ports: PortArgs,
    detokenizer_of: DetokenizerOf,
    node: Node,
    devices: DeviceMemory,
) -> LocalLauncher:
    """The launcher of those of a cascade's workers that run on this host.

    Args:
        node: this host.
        devices: how workers share them.

    Raises:
        ConfigError: if the models do not fit the memory; names the tier, what it needs and what
            there is.
    """
    pools = pool_specs(config)
    judge = JudgeSpec(
        calibrations=config.calibrations(),
        record=config.judge.record,
        counts_reasoning=config.judge.scope == "all",
        draft_calibrations=config.draft_calibrations(),
        ranked=ranked_tiers(config),
        hidden=hidden_recording_tiers(config),
    )
    return LocalLauncher(
        arguments,
        judge,
        paces,
        host_memory(pools, {pool.name: HostFlags.of(arguments.flags(pool)) for pool in pools})
        if current_platform.device_type == "cpu"
        else None,
        devices,
        Cluster(nodes=(node,), least_gib=devices.least_gib),
        worker_threads(config),
        start_group,
        server_ports,
        detokenizer_of,
        drafts=str(config.drafts().use),
    )


def this_node(arguments: TierArguments) -> Node:
    """This host: its accelerators from the base id on, or so many numbers."""
    kind = current_platform.device_type
    if kind == "cpu":
        return Node(gpu=kind, devices=HOST_DEVICES)
    first, step = arguments.first_device, arguments.device_step
    count = len(range(first, torch.cuda.device_count(), step))
    largest = max((card.free_bytes for card in seen_cards()), default=None)
    memory_gib = None if largest is None else largest / 2**30
    return Node(gpu=kind, devices=count, memory_gib=memory_gib)
