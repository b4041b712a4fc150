"""From the command line to a cascade server: everything is read and checked before anything starts.

What can be told from the files and the flags is told before the fork server starts and before
SGLang's heavier modules are imported. The fork server imports them at the same time.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sglang.srt.platforms import current_platform
from sglang.srt.utils import network

from cascadia_patches.apply import apply_patches, verify_patches
from cascadia_patches.registry import ARGUMENT_PATCHES, SERVER_PATCHES
from cascadia_sglang.config.cascade_file import cascade_from_flags, load_cascade
from cascadia_sglang.config.checks import problems_on_several_machines
from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.probes import hidden_recording_tiers
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.config.voices import voice_lines
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.extras import require
from cascadia_sglang.launch.arguments import TierArguments, check_arguments, worker_threads
from cascadia_sglang.launch.fork_server import start_fork_server
from cascadia_sglang.launch.resolution import one_line_errors
from cascadia_sglang.launch.sleep_check import check_sleep
from cascadia_sglang.memory.host import HostFlags, host_memory
from cascadia_sglang.model_checks.calibrated import loaded_calibrations
from cascadia_sglang.model_checks.check import check_models
from cascadia_sglang.processes.logs import START, quiet_known_lines, worker_logs
from cascadia_sglang.request_guard.sampling_check import check_tier_sampling
from cascadia_sglang.value_ranges import bound_problems
from cascadia_sglang.worker.emulated_pace import pace_specs

if TYPE_CHECKING:
    from cascadia_sglang.cluster.remote_nodes import RemoteNodes

logger = logging.getLogger(__name__)


def prepare_server(
    namespace: argparse.Namespace, construct: Callable[[argparse.Namespace], Any]
) -> Any:
    """Turn parsed flags into the main process's `ServerArgs`, with every patch in force.

    Raises:
        CascadiaError: one line; nothing has been started that outlives this process.
    """
    is_debug = namespace.log_level.lower() == "debug"
    if not is_debug:
        quiet_known_lines()
        START.begin(namespace.log_level)
    config = _read_config(namespace)
    check_arguments(namespace, config)
    is_on_host = current_platform.device_type == "cpu"
    if config.planner.sleep:
        check_sleep(current_platform.device_type)
    entry = configured_entry(config)
    vocabulary = None if entry is None else entry.vocabulary
    voices = check_models(config, vars(namespace), vocabulary=vocabulary)
    for line in voice_lines(voices, config):
        logger.info("%s", line)
    calibrations = loaded_calibrations(config, config.calibrations())
    loaded_calibrations(config, config.draft_calibrations())
    paces = pace_specs(config)
    check_tier_sampling(config.tiers)
    probed = {tier for tier, calibration in calibrations.items() if calibration.probe is not None}
    probed |= hidden_recording_tiers(config)
    logs = worker_logs(namespace.cascade_logs, namespace.port, is_debug=is_debug)
    arguments = TierArguments(namespace, config, construct, probed, logs)
    if is_on_host:
        pools = pool_specs(config)
        host_memory(pools, {pool.name: HostFlags.of(arguments.flags(pool)) for pool in pools})
        # It imports SGLang while this process does.
        start_fork_server(worker_threads(config), shows_every_line=is_debug)
    # The agents import SGLang while this process does.
    nodes = _begin_cluster(config) if config.cluster.is_on else None

    from cascadia_sglang.server.server import CascadeServer, make_current

    server_args = arguments.for_server()
    server = CascadeServer(
        config,
        arguments,
        calibrations,
        paces,
        is_on_host,
        shows_old_metric_names=namespace.cascade_old_metric_names,
        voices=voices,
        nodes=nodes,
    )
    make_current(server)
    apply_patches(SERVER_PATCHES, server)
    verify_patches(ARGUMENT_PATCHES)
    with one_line_errors(config.tiers[0].name):
        # What SGLang does next; here its errors are one line.
        server_args.resolve_once()
    return server_args


def _begin_cluster(config: CascadeConfig) -> "RemoteNodes":
    """The machines that take workers too. Their agents begin; nobody waits for them yet.

    Raises:
        ClusterError: if Ray does not answer, or knows too few machines.
    """
    from cascadia_sglang.cluster.driver_process import DriverProcess
    from cascadia_sglang.cluster.orders import driver_order
    from cascadia_sglang.cluster.remote_nodes import RemoteNodes

    nodes = RemoteNodes(config.cluster, DriverProcess(driver_order(config.cluster)))
    nodes.connect()
    return nodes


def _read_config(namespace: argparse.Namespace) -> CascadeConfig:
    path, tiers = namespace.cascade_config, namespace.cascade_tiers
    if (path is None) == (tiers is None):
        raise ConfigError("--plugin cascadia needs one of --cascade-config and --cascade-tiers")
    config = _with_state(_read_tiers(namespace), namespace.cascade_state)
    return _with_cluster(config, namespace)


def _read_tiers(namespace: argparse.Namespace) -> CascadeConfig:
    path, tiers = namespace.cascade_config, namespace.cascade_tiers
    if path is not None:
        for flag in ("cascade_thresholds", "cascade_escalation_rate"):
            if getattr(namespace, flag) is not None:
                raise ConfigError(f"--{flag.replace('_', '-')} goes with --cascade-tiers")
        return load_cascade(Path(path))
    thresholds, rate = namespace.cascade_thresholds, namespace.cascade_escalation_rate
    return cascade_from_flags(tiers, thresholds, rate)


def _with_state(config: CascadeConfig, folder: str | None) -> CascadeConfig:
    """The same cascade, with the folder that the command line names in place of its own."""
    return config if folder is None else msgspec.structs.replace(config, state=folder)


def _with_cluster(config: CascadeConfig, namespace: argparse.Namespace) -> CascadeConfig:
    """The same cascade, with what the command line says of the machines that take workers.

    Raises:
        ConfigError: if it cannot be served on several machines, Ray is missing, or SGLang is older.
    """
    given = {"ray": namespace.cascade_ray, "nodes": namespace.cascade_nodes}
    changes = {name: value for name, value in given.items() if value is not None}
    if namespace.cascade_private_network:
        changes["private_network"] = True
    cluster = msgspec.structs.replace(config.cluster, **changes)
    config = msgspec.structs.replace(config, cluster=cluster)
    for problem in (*bound_problems(config), *problems_on_several_machines(config)):
        raise ConfigError(problem)
    if cluster.is_on:
        require("ray")
        if not hasattr(network, "restrict_zmq_peers"):
            raise ConfigError(
                f"cluster.ray is {cluster.ray!r}, allowed with this SGLang release: null; from "
                "0.5.23 on, SGLang can refuse connections of other machines"
            )
    return config
