"""From the command line to a cascade server: everything is read and checked before anything serves.

SGLang's heavier modules are imported last: bad input is told sooner, and the fork server imports
them at the same time.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sglang.srt.platforms import current_platform

from cascadia_patches.registry import (
    ARGUMENT_PATCHES,
    SERVER_PATCHES,
    apply_patches,
    verify_patches,
)
from cascadia_sglang.cascade_file import cascade_from_flags, load_cascade
from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.calibrated import loaded_calibrations
from cascadia_sglang.model_checks.check import check_models
from cascadia_sglang.workers.arguments import TierArguments, check_arguments, worker_threads
from cascadia_sglang.workers.fork_server import start_fork_server
from cascadia_sglang.workers.pace import pace_specs
from cascadia_sglang.workers.sleep_check import check_sleep

logger = logging.getLogger(__name__)


def prepare_server(
    namespace: argparse.Namespace, construct: Callable[[argparse.Namespace], Any]
) -> Any:
    """Turn parsed flags into the main process's `ServerArgs`, with every patch in force.

    Raises:
        CascadiaError: one line; nothing has been started that outlives this process.
    """
    config = _read_config(namespace)
    check_arguments(namespace, config)
    entry = configured_entry(config)
    for line in check_models(
        config, vars(namespace), vocabulary=None if entry is None else entry.vocabulary
    ):
        logger.warning("%s", line)
    is_forking = current_platform.device_type == "cpu"
    if config.planner.sleep:
        check_sleep(current_platform.device_type)
    if is_forking:
        # It imports SGLang while this process does.
        start_fork_server(worker_threads(config))
    calibrations = loaded_calibrations(config, config.calibrations())
    loaded_calibrations(config, config.draft_calibrations())
    paces = pace_specs(config)

    from cascadia_sglang.server import CascadeServer

    probed = {tier for tier, one in calibrations.items() if one.probe is not None}
    arguments = TierArguments(namespace, config, construct, probed)
    server_args = arguments.for_server()
    server = CascadeServer(
        config,
        arguments,
        calibrations,
        paces,
        is_forking,
        shows_old_metric_names=namespace.cascade_old_metric_names,
    )
    apply_patches(SERVER_PATCHES, server)
    verify_patches(ARGUMENT_PATCHES)
    return server_args


def _read_config(namespace: argparse.Namespace) -> CascadeConfig:
    path, tiers = namespace.cascade_config, namespace.cascade_tiers
    if (path is None) == (tiers is None):
        raise ConfigError("--plugin cascadia needs one of --cascade-config and --cascade-tiers")
    if path is not None:
        for flag in ("cascade_thresholds", "cascade_escalation_rate"):
            if getattr(namespace, flag) is not None:
                raise ConfigError(f"--{flag.replace('_', '-')} goes with --cascade-tiers")
        return load_cascade(Path(path))
    thresholds, rate = namespace.cascade_thresholds, namespace.cascade_escalation_rate
    return cascade_from_flags(tiers, thresholds, rate)
