"""The settings of `routing`: how a request moves from tier to tier."""

from typing import Literal

import msgspec

from cascadia_sglang.value_ranges import Count, Positive, Share

DraftUse = Literal["auto", "on", "off"]

KEEP_ALIVE_ALLOWED = "0, or 0.1 to 3600 seconds"


def is_keep_alive_s(seconds: float) -> bool:
    """Whether this may be the time between two signs of life of a stream; 0 for none."""
    return seconds == 0.0 or 0.1 <= seconds <= 3600.0


class DraftsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next tier reads a rejected answer as a draft and keeps the tokens that it agrees with."""

    # Without quotes, YAML reads `on` and `off` as booleans.
    use: DraftUse | bool = "off"
    """Whether drafts are read. `auto`: where reading is expected to cost less than writing."""
    low: Share = 0.0
    """A draft with a score below this is never read."""
    second_judge: Share | None = None
    """Score of the second judge from which a draft goes out unchanged. null: no second judge.

    The tier that reads the draft needs a `draft_calibration`.
    """

    def __post_init__(self) -> None:
        if isinstance(self.use, bool):
            msgspec.structs.force_setattr(self, "use", "on" if self.use else "off")


class VerifyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The former names of the settings of `drafts`."""

    enabled: bool | Literal["auto"] = False
    """The former name of `use`."""
    low: Share = 0.0
    """As in `drafts`."""
    high: Share | None = None
    """The former name of `second_judge`."""


class GearsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lower thresholds while queues are long.

    The gear rises while the workers of a tier above the first hold `queue` attempts each or more.
    It falls once they hold half as many.
    """

    enabled: bool = False
    """Whether thresholds fall under load. Gears need `thresholds`."""
    floor: Share = 0.5
    """Thresholds fall down to this number."""
    steps: Count = 4
    """Gears from the plan's own thresholds down to the floor."""
    queue: Count = 32
    """Attempts per worker from which the gear rises."""


class RoutingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a request moves from tier to tier: by fixed thresholds, or by the share that escalates.

    A request that only one tier may answer is streamed as the tier writes it, in every mode.
    """

    thresholds: list[Share] = []
    """Calibrated score from which an answer is accepted: one number per tier but the last."""
    escalation_rate: Share | list[Share] | None = None
    """Share of all requests that reach the last tier; the tiers below it escalate equal shares.

    A list gives the share of each lower tier's own requests. With neither this nor `thresholds`:
    0.3.
    """
    entry: Literal["first", "predicted", "priced"] = "first"
    """Tier at which a request starts.

    `first`: the smallest. `predicted`: the tier that `entry_model` predicts from the prompt.
    `priced`: the tier from which an accepted answer is expected first.
    """
    entry_model: str | None = None
    """File that predicts from the prompt which tier will answer well."""
    stream: Literal["buffered", "commit", "direct"] | None = None
    """When a streamed answer leaves.

    `buffered`: once it is accepted. `commit`: once its acceptance is likely; its tier is final from
    then on. `direct`: as the first tier writes it. null: `commit` on tiers whose calibration has
    checkpoints, `buffered` on the others.
    """
    commit_tokens: Count = 8
    """With `commit`: least tokens of an answer before it may leave."""
    commit_chance: Share = 0.9
    """With `commit`: least probability of acceptance, at a checkpoint of the calibration."""
    commit_at_once: Share | None = None
    """An answer leaves while it is written where `entry_model` gives its tier this probability or
    more.

    The probability must reach the tier's threshold too. null: never.
    """
    early_abort: Share | None = 0.05
    """An attempt ends once its probability of acceptance falls below this. null: never."""
    deadline_s: Positive | None = None
    """Seconds for a whole request, over all tiers. null: no deadline."""
    max_attempts: int | None = None
    """Attempts of all tiers together, at least one per tier. null: 4, or one more than the tiers.

    Attempts that were lost with their worker do not count.
    """
    queue_limit: Count = 4096
    """Attempts per worker, running and waiting. Beyond it a request gets a 503.

    A request with more prompts and samples than this gets a 400.
    """
    max_samples: Count = 128
    """Largest `n` of a request, and its largest `beam_width`."""
    keep_alive_s: float = 5.0
    """Seconds of silence after which a held stream gives a sign of life. 0: never.

    Allowed: 0, or 0.1 to 3600.
    """
    max_body_bytes: Count = 16 * 2**20
    """Largest body of a request for an answer. A larger body gets a 413."""
    allow_degraded: bool = False
    """Whether the best finished answer may go out when time or tiers run out."""
    unknown_model: Literal["reject", "cascade"] = "reject"
    """What becomes of a model name that no tier has: a 404, or the whole cascade answers."""
    drafts: DraftsConfig | DraftUse | bool | None = None
    """Whether a tier reads the answer of the tier below as a draft: its keys, or its `use` alone.

    null: off.
    """
    verify: VerifyConfig | None = None
    """The former name of `drafts`. Only one of the two may be given."""
    gears: GearsConfig = GearsConfig()
    """Lower thresholds while queues are long."""
