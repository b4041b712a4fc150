"""What a problem file says: tiers, budget, and what every candidate of thresholds would cost."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from cascadia_sglang.capacity.types import GpuType, ReplicaGroup, RunningReplica
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import DuplicateKeyError, json_data
from cascadia_sglang.files.unknown_keys import with_nearest_key
from cascadia_sglang.planner.workload.slo import Slo
from cascadia_sglang.planner.workload.source import WorkloadSource

Objective = Literal["bottleneck", "path"]
Method = Literal["penalty", "chebyshev", "exact"]


class ProblemTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier by name.

    `pool` names the workers that serve it, where several tiers share them; by itself a tier has
    its own. Tiers of one `block` share devices: a replica of each lies on the devices of the
    block's replica. These count once, and the tiers' steps take turns there. `gpu_share` is the
    part of the memory of a tier of a block; null: its weights, and room for as many tokens as the
    others.
    `memory_gib` is what one replica needs on all its devices together: weights and the
    least KV cache.

    The rest goes with a `workload`. `model` is a folder with a `config.json`, or what that file
    says; tensor parallelism goes up to `max_tp` devices and pipelines up to `max_pp` stages, where
    null means the devices of a node, and as many stages as the weights need. `length` is that of
    the tier's answers, relative to the workload's. `kept` is the share of the answer before that
    the tier keeps where it reads it as a draft; null where it writes anew.
    `chunked_prefill_tokens` and `max_running_requests` are the engine's settings.
    """

    name: str
    pool: str | None = None
    block: str | None = None
    gpu_share: float | None = None
    memory_gib: float | None = None
    model: str | dict[str, Any] | None = None
    max_tp: int | None = None
    max_pp: int | None = None
    length: float = 1.0
    kept: float | None = None
    chunked_prefill_tokens: int = 8192
    max_running_requests: int = 256

    @property
    def workers(self) -> str:
        """Whose workers serve it."""
        return self.name if self.pool is None else self.pool

    @property
    def pool_name(self) -> str:
        """What is deployed for it: its workers, or the block that they belong to."""
        return self.workers if self.block is None else self.block


class Deployment(ReplicaGroup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run a pool: replicas of one shape on one type of GPU.

    `latency_s` is by tier of the pool.
    """

    latency_s: dict[str, float]


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds, and what follows from them.

    `shares[i]` is the share of requests that reach tier i. `latency_s[i][f]` is tier i's latency
    with f GPUs under that load: the p95 for the objective `bottleneck`, the mean for `path`. An f
    that is missing is not allowed for the tier. `deployments` stands in its place where shapes and
    types of GPU are to be chosen too.
    """

    thresholds: list[float]
    quality: float
    shares: list[float]
    latency_s: list[dict[int, float]] = []
    deployments: list[Deployment] = []


class GpuSheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A type of GPU by its data sheet; null takes the number that is known for the name.

    `gpus_per_node` counts where no `cluster` says what there is. `host_step_ms` is what the host
    needs for a step, as a measured profile says (`host.step_ms`); a roofline goes no lower.
    """

    name: str
    tflops: float | None = None
    memory_gb: float | None = None
    memory_gb_per_s: float | None = None
    link_gb_per_s: float | None = None
    gpus_per_node: int = 8
    host_step_ms: float = 0.0


class MeasuredProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile file, and on which type of GPU and in which shape its tiers were measured.

    `gpu` is null for the first type there is.
    """

    path: str
    gpu: str | None = None
    tp_size: int = 1
    pp_size: int = 1


class CalibrationRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt that every tier answered.

    `scores` holds one number in [0, 1] a tier but the last; `correct` one a tier, 1 for right.
    `entry` is what a router says before any tier has answered: the chance that a tier's answer
    will be right, one a tier but the last; only advice reads it. `prompt` names the prompt: rows
    that share it are on the same side where the sample is divided.
    """

    scores: list[float]
    correct: list[float]
    weight: float = 1.0
    entry: list[float] = []
    prompt: str | None = None


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How thresholds are searched; see `cascadia_sglang.planner.thresholds.search`.

    `confidence` splits the sample: one half chooses, the other certifies the floor one-sidedly at
    this level. null uses the whole sample and promises nothing beyond it.
    """

    method: Method = "exact"
    quantiles: int = 64
    penalty_weight: float = 100.0
    confidence: float | None = None
    seed: int = 0


class Problem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A problem file.

    Either `candidates` says what every choice of thresholds would cost, or `calibration` and
    `latency_by_share_s` let the planner search them: `latency_by_share_s[i][f]` lists pairs
    (share of requests that reach tier i, its latency in seconds), both rising; a share beyond the
    last pair is more than f GPUs can serve. Or `calibration` comes with a `workload`: latencies
    then are simulated, with the step times of `profiles`, or a roofline of `gpu` and of the tiers'
    models where nothing was measured. `slo` is told of the plan that comes out. Paths are relative
    to the problem file.

    `cluster`, `running` and `switching_cost_s` go with `deployments`: where replicas can lie, what
    runs now, and what one replica to start is worth in seconds of the objective.
    """

    version: int = 1
    gpu_budget: int
    quality_floor: float | None = None
    objective: Objective = "bottleneck"
    tiers: list[ProblemTier]
    candidates: list[Candidate] = []
    calibration: list[CalibrationRow] = []
    latency_by_share_s: list[dict[int, list[tuple[float, float]]]] = []
    workload: WorkloadSource | None = None
    gpu: GpuSheet | None = None
    profiles: list[MeasuredProfile] = []
    slo: Slo = Slo()
    routing: RoutingSettings = RoutingSettings()
    cluster: list[GpuType] = []
    running: list[RunningReplica] = []
    switching_cost_s: float = 0.0

    @property
    def pools(self) -> list[str]:
        """Names of the pools, in the order of their first tiers."""
        return list(dict.fromkeys(tier.pool_name for tier in self.tiers))

    def tiers_of(self, pool: str) -> list[int]:
        """Indices of the tiers that a pool serves."""
        return [index for index, tier in enumerate(self.tiers) if tier.pool_name == pool]


def read_problem(path: Path) -> Problem:
    """Read a problem file; what crosses fields is for `checked` in `problem_checks`.

    Raises:
        ConfigError: if the file is missing or does not fit; names the file and the place.
    """
    try:
        # Python's reader takes NaN, which the checks then name with its place.
        data = json_data(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"problem {path}: {error.strerror}") from error
    except DuplicateKeyError as error:
        raise ConfigError(f"problem {path}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"problem {path}: no JSON: {error}") from error
    try:
        return msgspec.convert(data, Problem, str_keys=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"problem {path}: {with_nearest_key(error, Problem)}") from error
