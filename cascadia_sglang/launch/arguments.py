"""A `ServerArgs` for every worker, from SGLang's parsed flags and the cascade file."""

import argparse
import copy
import os
import socket
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from sglang.srt.platforms import current_platform
from sglang.srt.platforms.interface import SRTPlatform
from sglang.srt.server_args import ServerArgs
from sglang.version import __version__ as sglang_version

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.checks import lax_flags
from cascadia_sglang.config.pool_specs import PoolSpec, pool_specs
from cascadia_sglang.config.refused_flags import REFUSED_FLAGS, check_tier_flags
from cascadia_sglang.config.settings import CASCADE_MODEL, CascadeConfig
from cascadia_sglang.config.voices import Voice
from cascadia_sglang.errors import ConfigError, WorkerError
from cascadia_sglang.launch.flag_table import flag_table
from cascadia_sglang.launch.fork_server import threads_per_worker
from cascadia_sglang.launch.resolution import given_nccl_variables
from cascadia_sglang.messages import WorkerLog
from cascadia_sglang.platform import NativeCpuPlatform

Construct = Callable[[argparse.Namespace], ServerArgs]

# SGLang accepts so many drafts whatever the model says.
_SIMULATED_LENGTH = "SGLANG_SIMULATE_ACC_LEN"

# The main process: with an algorithm, SGLang looks for counts of drafts in the outputs of every
# tier, and fails where one has none. The other two are refused, or read, without an algorithm.
_WITHOUT_DRAFTS = {
    "speculative_algorithm": None,
    "speculative_draft_model_path": None,
    "speculative_use_block_verification": False,
}

# From this page size on, `prefix.events: auto` has workers publish what they cache.
EVENT_PAGE_TOKENS = 16


def worker_threads(config: CascadeConfig) -> int:
    """CPU threads of each worker's tensor operations."""
    return threads_per_worker(sum(spec.replicas for spec in pool_specs(config)))


class TierArguments:
    """Builds fresh, unresolved `ServerArgs`: one for the server, one for each worker started."""

    def __init__(
        self,
        namespace: argparse.Namespace,
        config: CascadeConfig,
        construct: Construct,
        probed: Set[int] = frozenset(),
        log_folder: Path | None = None,
    ) -> None:
        """`namespace` holds SGLang's flags, as the command line has them.

        `probed` holds the tiers whose hidden states the judge reads, for a probe or a record.

        `log_folder` holds a file for each worker; None where their lines go to the console.
        `given_nccl` are the NCCL variables that the operator has set.
        """
        self.probed = probed
        self.log_folder = log_folder
        self.namespace = namespace
        self._config = config
        self._construct = construct
        self.given_nccl = given_nccl_variables()

    def for_server(self) -> ServerArgs:
        """Of the main process and the detokenizer: the first tier's model and tokenizer."""
        namespace = self._with_pool(pool_specs(self._config)[0])
        vars(namespace).update(_WITHOUT_DRAFTS)
        if namespace.served_model_name is None:
            namespace.served_model_name = CASCADE_MODEL
        if namespace.enable_metrics:
            labels = namespace.tokenizer_metrics_allowed_custom_labels or []
            namespace.tokenizer_metrics_allowed_custom_labels = [*labels, "tier", "worker"]
        return self._construct(namespace)

    def for_voice(self, voice: Voice) -> ServerArgs:
        """Of a voice's tokenizer, template and parsers, and of its tokenizer's detokenizer."""
        spec = next(pool for pool in pool_specs(self._config) if voice.tiers[0] in pool.tiers)
        namespace = self._with_pool(spec)
        namespace.served_model_name = self.namespace.served_model_name or CASCADE_MODEL
        # The collectors of the first voice count the requests of all.
        namespace.enable_metrics = False
        return self._construct(namespace)

    def for_worker(
        self,
        pool: PoolSpec,
        worker_id: str,
        memory_share: float | None,
        replica: RunningReplica,
        *,
        on_host: bool,
    ) -> ServerArgs:
        """Of one engine worker of a pool.

        Args:
            worker_id: stands on its metrics.
            memory_share: of the memory that workers share, for `mem_fraction_static`; None
                where each has a device of its own. A flag of the operator wins.
            replica: its shape, and its devices among those from `first_device` on.
            on_host: whether there are no devices, so that theirs are numbers alone.
        """
        namespace = self._with_pool(pool)
        namespace.served_model_name = pool.name
        # HTTP alone checks them.
        namespace.api_key = namespace.admin_api_key = None
        namespace.tp_size, namespace.pp_size = replica.tp_size, replica.pp_size
        if not on_host:
            if replica.pp_size > 1 and self.device_step > 1:
                raise WorkerError(f"tier {pool.name!r}: {stages_need_neighbours(self.device_step)}")
            namespace.base_gpu_id = self.first_device + replica.base_gpu_id * self.device_step
            namespace.gpu_id_step = replica.gpu_id_step * self.device_step
        if namespace.enable_metrics:
            labels = {"tier": pool.name, "worker": worker_id}
            namespace.extra_metric_labels = {**(namespace.extra_metric_labels or {}), **labels}
        if namespace.mem_fraction_static is None:
            namespace.mem_fraction_static = memory_share
        if self.probed & set(pool.tiers):
            if namespace.enable_return_hidden_states or namespace.enable_return_aux_hidden_states:
                raise ConfigError(
                    f"tier {pool.name!r}: a calibration with a probe needs the last hidden states "
                    "alone, and so does judge.record_hidden; no flag may ask for more"
                )
            namespace.return_hidden_states_mode = "last"
        return self._construct(namespace)

    def log_of(self, name: str) -> WorkerLog:
        """Where the lines of a worker, or of the detokenizer, go."""
        return WorkerLog(
            name=name, folder=None if self.log_folder is None else str(self.log_folder)
        )

    @property
    def first_device(self) -> int:
        """The number of the first accelerator that workers may have."""
        first: int = self.namespace.base_gpu_id
        return first

    @property
    def device_step(self) -> int:
        """From one such accelerator to the next."""
        step: int = self.namespace.gpu_id_step
        return step

    def publishes_events(self, pool: PoolSpec, page_tokens: int) -> bool:
        """Whether a pool's workers publish what their prefix caches hold.

        Args:
            page_tokens: of their KV pools, as SGLang resolved it.
        """
        namespace = self._with_pool(pool)
        if namespace.disable_radix_cache or self._config.prefix.events == "off":
            return False
        return page_tokens >= EVENT_PAGE_TOKENS or self._config.prefix.events == "on"

    def flags(self, pool: PoolSpec) -> dict[str, Any]:
        """SGLang's flags for a pool by name, as the operator gave them."""
        return vars(self._with_pool(pool))

    def flag(self, pool: PoolSpec, field: str) -> Any:
        """The value of one of them."""
        return self.flags(pool)[field]

    def parallel_sizes(self, pool: PoolSpec) -> dict[str, int]:
        """Sizes of a pool's tensor and pipeline groups at the start."""
        namespace = self._with_pool(pool)
        return {"tp_size": namespace.tp_size, "pp_size": namespace.pp_size}

    def _with_pool(self, pool: PoolSpec) -> argparse.Namespace:
        namespace = copy.copy(self.namespace)
        namespace.model_path = pool.model_path
        for key, value in pool.server_args.items():
            setattr(namespace, key, value)
        if self._config.planner.sleep:
            namespace.enable_memory_saver = namespace.enable_weights_cpu_backup = True
        return namespace


def check_arguments(namespace: argparse.Namespace, config: CascadeConfig) -> None:
    """Check what only SGLang's own flags can tell, before anything starts.

    Raises:
        ConfigError: for an unknown flag of a tier, one of another type, a refused flag, or a port
            in use.
    """
    check_tier_flags(config, flag_table())
    for refused in REFUSED_FLAGS:
        value = getattr(namespace, refused.flag, None)
        if value is not None and value != refused.allowed:
            flag = "--" + refused.flag.replace("_", "-")
            raise ConfigError(f"{flag} is {value!r}: {refused.reason}")
    _check_device_step(namespace, config)
    _check_speculation(namespace, config)
    if os.environ.get("SGLANG_RUST_SERVER", "0").lower() not in ("", "0", "false"):
        raise ConfigError("SGLANG_RUST_SERVER is set: the Rust server has no tokenizer manager")
    if config.tier_index(namespace.served_model_name or "") is not None:
        raise ConfigError(
            f"--served-model-name {namespace.served_model_name!r} is a tier's name, "
            "which `model` could then no longer pin"
        )
    if namespace.base_gpu_id or namespace.gpu_id_step != 1:
        for index, tier in enumerate(config.tiers):
            if tier.devices is not None:
                raise ConfigError(
                    f"tiers[{index}].devices names devices by number: --base-gpu-id and "
                    "--gpu-id-step do not go with it"
                )
    _check_port(namespace.host or "127.0.0.1", namespace.port)


def stages_need_neighbours(device_step: int) -> str:
    """Why a replica of several pipeline stages cannot lie on every n-th device."""
    return (
        f"--gpu-id-step is {device_step}, allowed: 1 where pp_size is above 1, "
        "for SGLang steps over devices within a pipeline stage alone"
    )


def _check_speculation(namespace: argparse.Namespace, config: CascadeConfig) -> None:
    """Flags of the command line hold for the tiers that decode speculatively, too."""
    for index, tier in enumerate(config.tiers):
        if tier.speculation is None or tier.hides_logits:
            continue
        subject = f"tiers[{index}] decodes by {tier.speculation.algorithm}"
        if tier.speculation.algorithm == "NGRAM" and not _host_speculates():
            raise ConfigError(
                f"{subject}: without an accelerator it needs SGLang 0.5.23, "
                f"this is {sglang_version}"
            )
        for problem in lax_flags(config, index, {**vars(namespace), **tier.server_args}):
            raise ConfigError(f"{subject}: {problem}")
        if float(os.environ.get(_SIMULATED_LENGTH) or 0) > 0:
            raise ConfigError(f"{subject}: {_SIMULATED_LENGTH} is set, which makes answers up")


def _host_speculates() -> bool:
    """Whether this SGLang asks a host's platform for what its speculation lacks there."""
    is_on_host = isinstance(current_platform, NativeCpuPlatform)
    return not is_on_host or hasattr(SRTPlatform, "get_speculative_worker_cls")


def _check_device_step(namespace: argparse.Namespace, config: CascadeConfig) -> None:
    for index, tier in enumerate(config.tiers):
        stages = tier.server_args.get("pp_size", namespace.pp_size)
        if stages > 1 and namespace.gpu_id_step > 1:
            reason = stages_need_neighbours(namespace.gpu_id_step)
            raise ConfigError(f"tiers[{index}] has {stages} pipeline stages: {reason}")


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server will bind: connections of an earlier server in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"port {port} on {host}: {error.strerror}") from error
