"""The problem file: tiers, budget, and the cost of every candidate of thresholds."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from cascadia_sglang.capacity.types import GpuType, Limited, ReplicaGroup, RunningReplica
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import DuplicateKeyError, json_data
from cascadia_sglang.files.unknown_keys import with_nearest_key
from cascadia_sglang.planner.workload.slo import Slo
from cascadia_sglang.planner.workload.source import WorkloadSource
from cascadia_sglang.value_ranges import Count, NotNegative, Positive, Share, bounds

Quantiles = Annotated[int, bounds(minimum=2, maximum=64)]
Confidence = Annotated[float, bounds(minimum=0.5, exclusiveMaximum=1)]

# What tables and surfaces can be searched for.
LatencyObjective = Literal["bottleneck", "path"]
Objective = Literal["path", "slo", "bottleneck"]
Method = Literal["penalty", "chebyshev", "exact"]


class ProblemTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier, by name.

    Keys from `model` on go with a `workload`.
    """

    name: str
    """Name of the tier. No two tiers share one."""
    pool: str | None = None
    """Name of the workers that serve it, where several tiers share them.

    null: workers of its own.
    """
    block: str | None = None
    """Tiers of one block share devices.

    A replica of each lies on the devices of the block's replica. Those devices count once, and
    the tiers take turns on them.
    """
    gpu_share: Share | None = None
    """Part of the memory that a tier of a block has.

    null: room for its weights, and for as many tokens as the others of the block have.
    """
    memory_gib: NotNegative | None = None
    """Memory of one replica on all its devices, in GiB: weights and the least KV cache."""
    model: str | dict[str, Any] | None = None
    """Folder with a `config.json`, a hub name, or the contents of that file.

    The sizes of some published models are built in, by their hub names.
    """
    max_tp: Count | None = None
    """Largest tensor parallel size. null: the devices of a node."""
    max_pp: Count | None = None
    """Largest number of pipeline stages. null: as many as the weights need."""
    length: Positive = 1.0
    """Length of the tier's answers, relative to the workload's."""
    prompt_length: Positive = 1.0
    """Tokens of a prompt at the tier, relative to the workload's.

    Another tokenizer or template makes another number of the same text.
    """
    kept: Share | None = None
    """Share of the draft of the tier below that the tier keeps. null: it reads no drafts."""
    chunked_prefill_tokens: Count = 8192
    """Prompt tokens per prefill step of the engine."""
    max_running_requests: Count = 256
    """Requests that the engine runs at once."""

    @property
    def workers(self) -> str:
        """Whose workers serve it."""
        return self.name if self.pool is None else self.pool

    @property
    def pool_name(self) -> str:
        """What is deployed for it: its workers, or the block that they belong to."""
        return self.workers if self.block is None else self.block


class Deployment(ReplicaGroup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run a pool: replicas of one shape on one type of GPU."""

    latency_s: dict[str, float]
    """Latency in seconds of each tier of the pool, by name."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds, and what follows from them.

    Either `latency_s` or `deployments` is needed.
    """

    thresholds: list[Share]
    """One number per tier but the last."""
    quality: Share
    """Share of right answers with these thresholds."""
    shares: list[Share]
    """Share of requests that reach each tier."""
    latency_s: list[dict[int, float]] = []
    """Per tier, its latency in seconds by number of GPUs, under that load.

    For `bottleneck` the p95, for `path` the mean. A number of GPUs that is missing is not
    allowed.
    """
    deployments: list[Deployment] = []
    """Ways to run the pools, where shapes and types of GPU are chosen too."""


class GpuSheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A type of GPU by its data sheet. null takes the number known for the name."""

    name: str
    """Name of the type, such as `H100`."""
    file: str | None = None
    """File with a sheet in this form. What is given beside it counts before it."""
    tflops: Positive | None = None
    """Dense 16-bit operations per second, in 10^12."""
    memory_gb: Positive | None = None
    """Memory in GB."""
    memory_gb_per_s: Positive | None = None
    """Memory bandwidth in GB/s."""
    link_gb_per_s: Positive | None = None
    """Bandwidth between the devices of a node, in GB/s."""
    bandwidth_reached: Share | None = None
    """Share of the memory bandwidth that reading weights reaches."""
    gpus_per_node: Count = 8
    """Devices of a node, where no `cluster` says what there is."""
    host_step_ms: NotNegative | None = None
    """Milliseconds that the host needs per step, as `host.step_ms` of a measured profile says.

    null: 2.4.
    """


class MeasuredProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile file, and what its tiers were measured on."""

    path: str
    """The profile file."""
    gpu: str | None = None
    """Type of GPU. null: the first type there is."""
    tp_size: Count = 1
    """Tensor parallel size of the measured workers."""
    pp_size: Count = 1
    """Pipeline stages of the measured workers."""


class CalibrationRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt that every tier answered."""

    scores: list[Share]
    """Scores of the answers: one number per tier but the last."""
    correct: list[Share]
    """One number per tier: 1 for a right answer."""
    weight: NotNegative = 1.0
    """Weight of the row."""
    entry: list[Share] = []
    """Probability that a tier's answer will be right, before any tier answers:

    one per tier but the last. `cascadia advise` alone reads it.
    """
    prompt: str | None = None
    """Name of the prompt. Rows that share it stay on one side where the sample is divided."""


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How thresholds are searched."""

    method: Method = "exact"
    """How the search goes. `exact` tries the whole grid of quantiles."""
    quantiles: Quantiles = 64
    """Thresholds per tier on the grid: quantiles of its scores."""
    penalty_weight: NotNegative = 100.0
    """Weight of the quality that is missing, for the method `penalty`."""
    confidence: Confidence | None = None
    """Confidence with which the sample must show the quality floor.

    One half of the sample then chooses, the other certifies. null: the whole sample chooses,
    and nothing is certified.
    """
    seed: int = 0
    """Seed of the division of the sample."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A problem to plan.

    It says in one of three ways what thresholds would cost. `candidates` list it. Or `calibration`
    and `latency_by_share_s` let the planner search thresholds. Or `calibration` and `workload` do,
    and latencies are simulated.
    """

    version: int = 1
    """Version of the file's form. Only 1 is allowed."""
    gpu_budget: Limited
    """Devices that a plan may use."""
    quality_floor: Share | None = None
    """Least share of right answers. null: none."""
    objective: Objective = "path"
    """What a plan minimises.

    `path`: the mean latency of a request over all tiers that it visits. `slo`: the GPUs, or their
    price, with which the targets of `slo` are met; it needs a workload. `bottleneck`: the p95
    latency of the slowest tier.
    """
    tiers: list[ProblemTier]
    """The models, smallest first."""
    candidates: list[Candidate] = []
    """Thresholds to choose from, and what they cost."""
    calibration: list[CalibrationRow] = []
    """Sample of prompts that every tier answered."""
    latency_by_share_s: list[dict[int, list[tuple[float, float]]]] = []
    """Per tier and number of GPUs, pairs of a share of requests and the latency in seconds.

    Both rise. A larger share than the last is more than these GPUs can serve.
    """
    workload: WorkloadSource | None = None
    """The requests to plan for."""
    gpu: GpuSheet | None = None
    """The type of GPU, for step times that were not measured."""
    profiles: list[MeasuredProfile] = []
    """Measured step times."""
    slo: Slo = Slo()
    """Latency targets. A plan that misses them says so."""
    price_per_gpu_hour: dict[str, NotNegative] = {}
    """Price of a GPU by its type. Where it is given, `slo` minimises the price."""
    least_gain: Share = 0.01
    """Share of the objective that GPUs must gain. Those that gain less are left over.

    It goes with a workload.
    """
    routing: RoutingSettings = RoutingSettings()
    """How thresholds are searched."""
    cluster: list[GpuType] = []
    """Where replicas can lie. Goes with `deployments`."""
    running: list[RunningReplica] = []
    """Replicas that run now. Goes with `deployments`."""
    switching_cost_s: NotNegative = 0.0
    """Seconds of the objective that one start of a replica must be worth."""

    @property
    def latency_objective(self) -> LatencyObjective:
        """What latencies of single replicas are searched for."""
        return "bottleneck" if self.objective == "bottleneck" else "path"

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
