"""The settings of a cascade and their defaults."""

from typing import Any, Literal

import msgspec

from cascadia_sglang.config.cluster_settings import ClusterConfig
from cascadia_sglang.config.routing_settings import DraftsConfig, RoutingConfig
from cascadia_sglang.config.speculation import Speculation, speculation_of
from cascadia_sglang.value_ranges import (
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    PositiveShare,
    Share,
)

# Requests for the whole cascade use this model name.
CASCADE_MODEL = "cascadia"


class TierConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the cascade."""

    name: str
    """Name of the tier in requests, headers and metrics. No two tiers share one."""
    model_path: str
    """Folder of the model, or its name on the hub. A relative path starts at the cascade file."""
    calibration: str | None = None
    """Calibration file. Without one the tier's answers are ranked and `escalation_rate` decides.

    A tier whose speculative decoding hides the logits takes no file.
    """
    draft_calibration: str | None = None
    """Calibration file of the second judge, which rates drafts of the tiers below."""
    replicas: Count = 1
    """Workers at the start. The planner may change their number."""
    standby: CountOrZero = 0
    """Spare workers that are started and get no requests until a move or a lost worker needs one.

    On an accelerator each spare worker holds devices of its own.
    """
    devices: list[int] | None = None
    """Accelerators of this tier's workers, by number. A worker takes one per rank, in this order.

    Tiers may name the same devices. null: any that are free; tiers share where there are too few.
    """
    gpu_share: PositiveShare | None = None
    """Part of a device's memory per worker.

    null: the whole device; on a shared device a part by the weights of its models.
    """
    server_args: dict[str, Any] = {}
    """SGLang flags of this tier, by field name. They override the command line."""
    sampling: dict[str, Any] = {}
    """Sampling parameters of this tier. Each key overrides the client's."""
    prompt_suffix: str | None = None
    """Text appended to the prompt for this tier alone."""

    @property
    def speculation(self) -> Speculation | None:
        """How it decodes speculatively; None where it does not."""
        return speculation_of(self.server_args)

    @property
    def hides_logits(self) -> bool:
        """Whether SGLang shows the judge no logits of its answers."""
        speculation = self.speculation
        return speculation is not None and not speculation.is_judged


class JudgeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is judged, and what happens where there is no score to trust."""

    on_error: Literal["escalate", "accept"] = "escalate"
    """What to do with an answer that has no score.

    A tier whose speculative decoding hides the logits has no judge. Below the last tier it needs
    `accept`.
    """
    on_constrained: Literal["escalate", "accept"] = "escalate"
    """What to do with an answer that a grammar constrained."""
    scope: Literal["answer", "all"] = "answer"
    """Tokens that are judged: the answer, or the reasoning before it too.

    Reasoning is what `--reasoning-parser` finds, in requests in which the model reasons.
    """
    record: bool | Literal["every_token"] = False
    """Put every attempt's features into `meta_info.cascadia`, from which a calibration is fitted.

    true: at token counts that are powers of two, and at the end. every_token: after each token; the
    token ids of the answer are shown too. No tier needs a calibration file then.
    """
    record_hidden: bool = False
    """Add to each record the hidden state that gave the answer's last token, for a probe.

    It needs `record`. Tiers that cannot have a probe record none: the last tier, a tier with
    speculative decoding, and a tier whose workers read drafts.
    """
    label_rate: Share | None = None
    """Share of accepted answers that the last tier answers too, to see whether it agrees.

    This happens off the request's path, only while a worker of the last tier is idle. null: 0.02
    where a tier calibrates itself, else 0.
    """


class PrefixConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the prefix caches of the workers are used."""

    workers: Literal["prefix", "least_loaded", "random"] = "prefix"
    """Which worker of a tier takes an attempt.

    `prefix`: the worker that will finish it first, its cached prefix counted. `least_loaded` and
    `random` ignore the prompt.
    """
    events: Literal["auto", "on", "off"] = "auto"
    """Whether workers publish which blocks they hold. Otherwise this is guessed from past requests.

    `auto`: on where a page has 16 tokens or more, as each event costs some microseconds.
    """
    warm: Literal["auto", "always", "off"] = "auto"
    """Whether the next tier computes a prompt while the tier below still answers it.

    `auto`: where the expected saving exceeds the expected waste. `always`: wherever the next tier's
    worker has nothing waiting.
    """
    warm_chunk: Count = 256
    """Prompt tokens per step of this. A shorter prompt is not computed ahead."""
    carry_s: NotNegative = 2.0
    """Seconds for which a new worker may be filled with the hottest prefixes before it serves."""


class PlannerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where capacity goes. The controller makes a new plan when the traffic has changed."""

    enabled: bool = False
    """Whether the controller moves capacity between tiers."""
    gpu_budget: Count | None = None
    """Devices that a plan may use. Needed where the planner is enabled."""
    interval_s: Positive = 30.0
    """Seconds between two checks of the traffic."""
    objective: Literal["path", "bottleneck"] = "path"
    """What a plan minimises: the mean latency of a request, or the slowest tier's p95."""
    shadow_rate: Share | None = None
    """Another name of `judge.label_rate`."""
    emulate: str | None = None
    """Profile file whose step times every worker takes, on its even share of `gpu_budget` devices.

    For studies on a host without accelerators. It may stand in for `profile`.
    """
    profile: str | None = None
    """Profile file with step times and limits of every tier. `cascadia profile` writes one."""
    sample: str | None = None
    """Planner's sample, which `cascadia calibrate` writes.

    The page computes from it what other thresholds would do. With `quality_floor`, thresholds move
    with capacity.
    """
    quality_floor: Share | None = None
    """Least share of right answers, to traffic like that of the last minutes. Needs `sample`.

    null: thresholds stay.
    """
    deadline_s: Positive = 60.0
    """Seconds that a plan may take."""
    horizon_s: Positive = 600.0
    """Seconds over which the gain of a move must exceed its cost."""
    cooldown_s: NotNegative = 60.0
    """Least seconds between two moves."""
    sleep: bool = False
    """Whether a worker that a move takes away sleeps instead of ending.

    It frees the device's memory and keeps its weights in the host's. A later move wakes it.
    """
    log: str | None = None
    """File to which every decision is appended."""


class CascadeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole cascade.

    ```yaml
    version: 1
    tiers:
      - name: small
        model_path: demo/models/small
        calibration: demo/models/small/calibration.json
      - name: large
        model_path: demo/models/large
    routing:
      thresholds: [0.8]
    ```
    """

    version: int
    """Version of the file's form. Only 1 is allowed."""
    tiers: list[TierConfig]
    """The models, smallest first."""
    routing: RoutingConfig = RoutingConfig()
    """How a request moves from tier to tier."""
    judge: JudgeConfig = JudgeConfig()
    """What is judged, and what happens without a score."""
    prefix: PrefixConfig = PrefixConfig()
    """How prefix caches are used."""
    planner: PlannerConfig = PlannerConfig()
    """Where capacity goes."""
    cluster: ClusterConfig = ClusterConfig()
    """On which machines workers run besides this host."""
    start_limit_s: Positive = 1200.0
    """Seconds that a worker of the running server may take to start. A slower start is retried."""
    # Without quotes, YAML reads `off` as a boolean.
    calibration: Literal["auto", "off"] | bool = "auto"
    """`auto`: tiers without a calibration file calibrate themselves while the server runs.

    Their labels say how often the last tier agrees with their answers. `off`: they stay ranked.
    """
    state: str | None = None
    """Folder that keeps labels and self-made calibrations between starts. null: a temporary one.

    It holds features, labels and digests, no prompt and no answer.
    """

    def __post_init__(self) -> None:
        if self.calibration is True:
            raise ValueError("calibration is true, allowed: auto, off")
        if self.calibration is False:
            msgspec.structs.force_setattr(self, "calibration", "off")

    def tier_index(self, name: str) -> int | None:
        """Index of the tier of this name, None where there is none."""
        return next((i for i, tier in enumerate(self.tiers) if tier.name == name), None)

    def max_attempts(self) -> int:
        """How many attempts a request may take, all tiers together."""
        configured = self.routing.max_attempts
        return max(4, len(self.tiers) + 1) if configured is None else configured

    def drafts(self) -> DraftsConfig:
        """How drafts are used, whichever name and form the settings have."""
        present, former = self.routing.drafts, self.routing.verify
        if former is not None:
            return DraftsConfig(use=former.enabled, low=former.low, second_judge=former.high)
        if isinstance(present, DraftsConfig):
            return present
        return DraftsConfig(use=present or "off")

    def models(self) -> dict[str, str]:
        """Folder or hub name of every model that it names, by the place that names it.

        That includes the models that a tier writes drafts with (speculative decoding).
        """
        models = {f"tier {tier.name}": tier.model_path for tier in self.tiers}
        for tier in self.tiers:
            drafter = tier.server_args.get("speculative_draft_model_path")
            if isinstance(drafter, str):
                models[f"tier {tier.name}, speculative_draft_model_path"] = drafter
        return models

    def calibrations(self) -> dict[int, str]:
        """Path of the calibration file of each tier index that has one."""
        paths = {index: tier.calibration for index, tier in enumerate(self.tiers)}
        return {index: path for index, path in paths.items() if path is not None}

    def draft_calibrations(self) -> dict[int, str]:
        """The same of the files by which a tier rates the answers of the tiers below."""
        paths = {index: tier.draft_calibration for index, tier in enumerate(self.tiers)}
        return {index: path for index, path in paths.items() if path is not None}
