"""What an operator writes: the settings of a cascade and their defaults."""

from typing import Any, Literal

import msgspec

# Requests for the whole cascade use this model name.
CASCADE_MODEL = "cascadia"
DraftUse = Literal["auto", "on", "off"]

KEEP_ALIVE_ALLOWED = "0, or 0.1 to 3600 seconds"


def is_keep_alive_s(seconds: float) -> bool:
    """Whether this may be the time between two signs of life of a stream; 0 for none."""
    return seconds == 0.0 or 0.1 <= seconds <= 3600.0


class TierConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the cascade.

    `server_args` override the command line's SGLang flags for this tier, by field name.
    `sampling` overrides the client's sampling parameters key by key. `prompt_suffix` is appended
    to the prompt for this tier alone. A tier without a `calibration` file is
    ranked, so that `routing.escalation_rate` decides how many of its requests climb. None can be
    given where `server_args` ask for speculative decoding: such a tier has no judge.
    `standby` workers more are started and wait, without requests, until a move or a lost worker
    calls for one; on an accelerator each holds devices that no worker has.
    `devices` are the accelerators for this tier's workers, by number; each worker takes as many as
    it has ranks, in this order. Tiers may name the same ones. null: any that are free, or shared
    where there are too few. `gpu_share` is the part of a device's memory for each worker; null: all
    of it, or where workers share the device a part by the model's weights.
    `draft_calibration` is of the answers of the tiers below, as this tier reads them (see
    `routing.drafts.second_judge`).
    """

    name: str
    model_path: str
    calibration: str | None = None
    draft_calibration: str | None = None
    replicas: int = 1
    standby: int = 0
    devices: list[int] | None = None
    gpu_share: float | None = None
    server_args: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    prompt_suffix: str | None = None

    @property
    def is_speculative(self) -> bool:
        """Whether it decodes speculatively; SGLang shows the judge no logits then."""
        return self.server_args.get("speculative_algorithm") is not None


class DraftsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next tier reads a rejected answer as a draft and keeps the tokens that it agrees with.

    `use: on` reads every draft; `auto` reads where that is expected to cost less than writing from
    scratch; `off` reads none. A draft whose score is below `low` is never read.

    `second_judge` is the chance from which a second judge accepts a draft. A tier with a
    `draft_calibration` computes, from its own probabilities, the chance that a whole draft is
    acceptable. From `second_judge` on the draft is the answer, whether or not the tier would have
    written the same. null: no second judge.
    """

    # Without quotes, YAML reads `on` and `off` as booleans.
    use: DraftUse | bool = "off"
    low: float = 0.0
    second_judge: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.use, bool):
            msgspec.structs.force_setattr(self, "use", "on" if self.use else "off")


class VerifyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The former names of `DraftsConfig`: `enabled` is `use`, `high` is `second_judge`."""

    enabled: bool | Literal["auto"] = False
    low: float = 0.0
    high: float | None = None


class GearsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lower thresholds while queues are long, in `steps` gears down to `floor`.

    The gear rises while the workers of a tier above the first hold `queue` attempts each or more,
    and falls once they hold half as many.
    """

    enabled: bool = False
    floor: float = 0.5
    steps: int = 4
    queue: int = 32


class RoutingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a request climbs: by fixed `thresholds`, or so that a share does.

    `thresholds` holds one number in [0, 1] a tier but the last: the calibrated score from which an
    answer is accepted. `escalation_rate` is the share in [0, 1] of all requests that reach the last
    tier; of several lower tiers each lets the same share of its own climb. A list gives the share
    of each lower tier's own requests. Neither: a rate of 0.3.

    With `entry: predicted`, the model of the file `entry_model` says from the prompt alone at which
    tier a request begins.

    `stream: null` serves a streamed request as `commit` does on tiers whose judge tells the chance
    of acceptance on the way, which is to say that their calibration has checkpoints; the answers of
    other tiers leave whole, once accepted. `buffered` holds every answer back until it is accepted.
    In every mode a request that only one tier may answer is streamed as it is written.

    `stream: commit` lets a streamed answer out once `commit_tokens` tokens are there and the chance
    that it will be accepted is `commit_chance` or more, at a checkpoint of the calibration; from
    then on its tier is final. Where `entry_model` gives the tier at which the climb begins a chance
    of being right of `commit_at_once` or more, and its threshold or more, the answer leaves as it
    is written; null: never. `direct` lets every first tier's answer out as it is written.
    `max_attempts` bounds the attempts of all tiers together, at least one a tier; those that were
    lost with their worker do not count. null: 4, or one more than there are tiers.
    `queue_limit` is how many attempts one worker may hold, running and waiting; beyond it: 503. No
    request may have more prompts and samples than that: 400. `max_samples` is the largest `n` of a
    request, and the largest `beam_width`. `max_body_bytes` is the largest body of a request for an
    answer; beyond it: 413.

    A streamed answer that is held back for `keep_alive_s` seconds opens its response, and gives a
    sign of life whenever so long nothing was sent; 0: never.

    `drafts` takes `auto`, `on` or `off` in place of its fields; null: off. `verify` is its former
    name: only one of the two may be given.
    """

    thresholds: list[float] = []
    escalation_rate: float | list[float] | None = None
    entry: Literal["first", "predicted", "priced"] = "first"
    entry_model: str | None = None
    stream: Literal["buffered", "commit", "direct"] | None = None
    commit_tokens: int = 8
    commit_chance: float = 0.9
    commit_at_once: float | None = None
    early_abort: float | None = 0.05
    deadline_s: float | None = None
    max_attempts: int | None = None
    queue_limit: int = 4096
    max_samples: int = 128
    keep_alive_s: float = 5.0
    max_body_bytes: int = 16 * 2**20
    allow_degraded: bool = False
    unknown_model: Literal["reject", "cascade"] = "reject"
    drafts: DraftsConfig | DraftUse | bool | None = None
    verify: VerifyConfig | None = None
    gears: GearsConfig = GearsConfig()


class JudgeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the policy says where there is no score to trust.

    A tier that decodes speculatively has no judge. As the last one it needs none; below that, all
    its answers are accepted without a score, which `on_error: accept` must allow.

    `scope` says what is judged: the answer, or all tokens with the reasoning before it too.
    Reasoning is what SGLang counts as such: it needs `--reasoning-parser`, and a request in which
    the model reasons.

    `record` puts the features of every attempt's answer into `meta_info.cascadia`, from which a
    calibration is fitted. No tier needs a calibration file then.

    `label_rate` is the share of the answers accepted below the last tier that the last tier is
    asked about too, off the request's path and only while a worker of it is idle: would it have
    said the same? null: 0.02 where a tier calibrates itself (see `calibration`), else 0.
    """

    on_error: Literal["escalate", "accept"] = "escalate"
    on_constrained: Literal["escalate", "accept"] = "escalate"
    scope: Literal["answer", "all"] = "answer"
    record: bool = False
    label_rate: float | None = None


class PrefixConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is made of the prompts that the workers hold in their prefix caches.

    `workers` says which of a tier's workers takes an attempt: `prefix` the one that is done with it
    first, counting what it holds of the prompt and what it has to do; `least_loaded` and `random`
    look at no prompt.

    `events` has every worker publish which blocks it holds. Otherwise it is guessed from what was
    sent there and from the cached tokens that attempts report. `auto` is on where a
    page has 16 tokens or more: a block's event costs the scheduler some microseconds, whatever its
    size.

    `warm` fills the next tier's cache with a prompt while the tier below still answers it, in
    chunks of `warm_chunk` tokens; a shorter prompt never. `auto` warms where the expected saving
    exceeds the expected waste, `always` wherever the next tier's worker has nothing waiting.

    `carry_s` is how long a new worker may be filled with the hottest prefixes of its tier before
    it serves; 0 for not at all.
    """

    workers: Literal["prefix", "least_loaded", "random"] = "prefix"
    events: Literal["auto", "on", "off"] = "auto"
    warm: Literal["auto", "always", "off"] = "auto"
    warm_chunk: int = 256
    carry_s: float = 2.0


class PlannerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where capacity goes.

    With `enabled`, a controller looks at the traffic every `interval_s`; where it has changed since
    the plan in force, it asks for a plan on `gpu_budget` devices, for at most `deadline_s`, and
    moves where the gain over `horizon_s` exceeds the cost of moving, `cooldown_s` after the last
    move at the soonest. `profile` names a profile file with step times and limits of every tier;
    `emulate` stands in for it. `log` names a file to which every decision is added.

    `sample` names a planner's sample, which `cascadia calibrate` writes: thresholds then move with
    capacity, such that the share of right answers to traffic like the last minutes' does not fall
    below `quality_floor`. Without it they stay.

    `emulate` names a profile file: every worker then takes the profile's time for each forward,
    on its even share of `gpu_budget` devices. For studies on a host without accelerators.

    With `sleep`, a worker that a move takes away sleeps in place of ending: it gives its device's
    memory back, keeps its weights in the host's, and is woken in place of a start.

    `shadow_rate` is another name of `judge.label_rate`.
    """

    enabled: bool = False
    gpu_budget: int | None = None
    interval_s: float = 30.0
    objective: Literal["bottleneck", "path"] = "bottleneck"
    shadow_rate: float | None = None
    emulate: str | None = None
    profile: str | None = None
    sample: str | None = None
    quality_floor: float | None = None
    deadline_s: float = 60.0
    horizon_s: float = 600.0
    cooldown_s: float = 60.0
    sleep: bool = False
    log: str | None = None


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

    `start_limit_s` is how long a worker of the running server may take to start, one that takes a
    lost one's place or is added by a move. One that takes longer is ended, and tried again.

    With `calibration: auto`, tiers that are ranked for want of a file are calibrated while the
    server runs, by how often the last tier agrees with their answers; `off` leaves them ranked.
    `state` names a folder that keeps what this needs from one start to the next: features, flags
    and digests, no prompt and no answer. null: a temporary one.
    """

    version: int
    tiers: list[TierConfig]
    routing: RoutingConfig = RoutingConfig()
    judge: JudgeConfig = JudgeConfig()
    prefix: PrefixConfig = PrefixConfig()
    planner: PlannerConfig = PlannerConfig()
    start_limit_s: float = 1200.0
    calibration: Literal["auto", "off"] = "auto"
    state: str | None = None

    def tier_index(self, name: str) -> int | None:
        """Index of the tier of this name, None where there is none."""
        return next((i for i, tier in enumerate(self.tiers) if tier.name == name), None)

    def max_attempts(self) -> int:
        """How many attempts a request may take, all tiers together."""
        given = self.routing.max_attempts
        return max(4, len(self.tiers) + 1) if given is None else given

    def drafts(self) -> DraftsConfig:
        """How drafts are used, whichever name and form the settings have."""
        given, former = self.routing.drafts, self.routing.verify
        if former is not None:
            return DraftsConfig(use=former.enabled, low=former.low, second_judge=former.high)
        if isinstance(given, DraftsConfig):
            return given
        return DraftsConfig(use=given or "off")

    def models(self) -> dict[str, str]:
        """Folder or hub name of every model that it names, by the place that names it.

        That includes the models that a tier writes drafts with (speculative decoding).
        """
        found = {f"tier {tier.name}": tier.model_path for tier in self.tiers}
        for tier in self.tiers:
            drafter = tier.server_args.get("speculative_draft_model_path")
            if isinstance(drafter, str):
                found[f"tier {tier.name}, speculative_draft_model_path"] = drafter
        return found

    def calibrations(self) -> dict[int, str]:
        """Path of the calibration file of each tier index that has one."""
        paths = {index: tier.calibration for index, tier in enumerate(self.tiers)}
        return {index: path for index, path in paths.items() if path is not None}

    def draft_calibrations(self) -> dict[int, str]:
        """The same of the files by which a tier rates the answers of the tiers below."""
        paths = {index: tier.draft_calibration for index, tier in enumerate(self.tiers)}
        return {index: path for index, path in paths.items() if path is not None}
