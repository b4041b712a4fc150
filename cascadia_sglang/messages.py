"""Messages between the router and the engine workers."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

# Key of an attempt's order in `SamplingParams.custom_params`, and of the judge's report in
# `meta_info` on the way from the worker to the router.
ATTEMPT_KEY = "cascadia"
REPORT_KEY = "cascadia_judge"
# What became of its draft, on the same way.
DRAFT_KEY = "cascadia_draft"
REPORT_KEYS = frozenset({REPORT_KEY, DRAFT_KEY})

# Sampling parameters under which a grammar decides which tokens may be chosen.
CONSTRAINTS = ("json_schema", "regex", "ebnf", "structural_tag")

EVERY_TOKEN = "every_token"
# Whether features are recorded: True for those at token counts that are powers of two.
Recording = bool | Literal["every_token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceSpec:
    """The device that a worker emulates.

    Attributes:
        profile: path of the profile file.
        tier: whose step times in it are the worker's.
        share: of the device that the worker has, above 0 and at most 1.
    """

    profile: str
    tier: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSpec:
    """What a worker's judge is told at its start.

    Attributes:
        calibrations: path of the calibration file per judged tier index.
        draft_calibrations: of the file by which a tier index rates drafts, where it does.
        record: whether every finished attempt carries its features, by default at powers of two.
        counts_reasoning: whether the reasoning before an answer is part of what is judged.
        ranked: tier indices that the built-in rank scores, for want of a calibration file.
        hidden: tier indices whose records hold the hidden state that gave the last token.
    """

    calibrations: dict[int, str]
    record: Recording
    counts_reasoning: bool
    draft_calibrations: dict[int, str] = field(default_factory=dict)
    ranked: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()

    def of_tiers(self, tiers: Collection[int]) -> "JudgeSpec":
        """With the calibrations of these tiers alone."""
        return replace(
            self,
            calibrations={t: c for t, c in self.calibrations.items() if t in tiers},
            draft_calibrations={t: c for t, c in self.draft_calibrations.items() if t in tiers},
            ranked=self.ranked.intersection(tiers),
            hidden=self.hidden.intersection(tiers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSource:
    """Where a worker publishes what its prefix cache holds, and where that can be asked again."""

    endpoint: str
    replay_endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceShare:
    """A worker's part of each of its devices, which it shares with others.

    Attributes:
        share: of the device's memory.
        free_bytes: that SGLang is to find on the device when it first looks.
    """

    share: float
    free_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLog:
    """Where the lines of a worker or of the detokenizer go.

    Attributes:
        name: that stands before each line on the console.
        folder: of its file; None where all lines go to the console.
    """

    name: str
    folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What one engine worker is told at its start; rides on its `ServerArgs`.

    Attributes:
        worker_id: unique in the server.
        judge: of the tiers that it serves.
        threads: CPU threads for tensor operations.
        environment: of the main process; a fork server's children would see an older one.
        pace: of an emulated device; None where the host's own speed counts.
        events: where it publishes its cache's contents; None where it does not.
        reads_drafts: whether attempts may come with a draft.
        fits_window: whether the number of tokens that a speculative step verifies follows the load.
        host_free_bytes: of which its share of the host's memory is one; None where the worker
            looks itself.
        device_share: None where it has its devices alone.
        log: None where SGLang's own settings count alone.
    """

    worker_id: str
    judge: JudgeSpec
    threads: int
    environment: dict[str, str]
    pace: PaceSpec | None
    events: EventSource | None = None
    reads_drafts: bool = False
    fits_window: bool = False
    host_free_bytes: int | None = None
    device_share: DeviceShare | None = None
    log: WorkerLog | None = None


# The next two are msgspec's: a worker makes one of each for every answer, between two steps.


class AttemptOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told with an attempt.

    Attributes:
        tier_index: whose calibration rates the answer.
        threshold: smallest score that will be accepted.
        early_abort: end the attempt once the chance of acceptance falls below; None for never.
        earlier_scores: final scores of the tiers before, None where there is none.
        commit_tokens: commit to the answer at a checkpoint after this many tokens; None for never.
        commit_chance: smallest chance of acceptance with which it is committed to.
        tells_chance: whether every output on the way says the chance of acceptance so far.
        draft: a smaller tier's answer, as token ids: the attempt keeps what it would have written
            itself and goes on from there. Empty for none.
        confirm_at: smallest chance that the draft is acceptable with which it is the answer as it
            is; None for never.
        worker_id: of the one worker that may take the attempt; None for any of the tier. The
            worker itself is not told.
        is_retry: whether the request ran before, so that no full queue refuses it. The same.
        calibration: path of the calibration file that scores the answer; None for what the worker
            started with. A changed file needs a new path: a worker reads each path once.
        record: whether the answer's report carries its features; `every_token` for those after each
            token.
        traceparent: of the attempt's span, for SGLang's spans; None without tracing. The worker
            itself is not told.
    """

    tier_index: int
    threshold: float
    early_abort: float | None
    earlier_scores: tuple[float | None, ...]
    commit_tokens: int | None = None
    commit_chance: float = 1.0
    tells_chance: bool = False
    draft: tuple[int, ...] = ()
    confirm_at: float | None = None
    worker_id: str | None = None
    is_retry: bool = False
    calibration: str | None = None
    record: Recording = False
    traceparent: str | None = None

    def to_params(self) -> dict[str, Any]:
        """Plain values, as custom sampling parameters carry them."""
        params: dict[str, Any] = {
            "tier_index": self.tier_index,
            "threshold": self.threshold,
            "early_abort": self.early_abort,
            "earlier_scores": list(self.earlier_scores),
            "commit_tokens": self.commit_tokens,
            "commit_chance": self.commit_chance,
            "tells_chance": self.tells_chance,
        }
        if self.draft:
            params |= {"draft": list(self.draft), "confirm_at": self.confirm_at}
        if self.calibration is not None:
            params["calibration"] = self.calibration
        if self.record:
            params["record"] = self.record
        return params

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> "AttemptOrder":
        """The order that `to_params` made these of.

        Raises:
            msgspec.ValidationError: if a value has another type.
        """
        return msgspec.convert(params, cls)


class JudgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge says of an attempt: of a finished one, or of one on its way.

    Attributes:
        score: calibrated probability that the answer is acceptable, or the chance of acceptance
            where the attempt was ended early or goes on; None where it could not be computed.
        early_abort: whether the judge ended the attempt.
        uncut_score: of an answer that was cut off at a length limit: what its score would be had it
            ended there by itself. None for any other answer.
        record: the base features on the way, where the server records them: `tokens`, ascending and
            ending with the whole answer's, and `features`, one list a number of tokens. `hidden`,
            where that is recorded too: the hidden state that gave the last token, as little-endian
            float16 in base64.
        committed: whether the judge committed to the answer before its end; it ends none such.
        features: the base features of a finished answer, where the calibration has a summary of
            them to compare with, and all are finite.
    """

    score: float | None
    early_abort: bool
    uncut_score: float | None = None
    record: dict[str, Any] | None = None
    committed: bool = False
    features: list[float] | None = None

    def to_meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = {
            "score": self.score,
            "early_abort": self.early_abort,
            "uncut_score": self.uncut_score,
            "record": self.record,
        }
        if self.committed:
            meta["committed"] = True
        if self.features is not None:
            meta["features"] = self.features
        return meta

    @classmethod
    def from_meta(cls, meta: dict[str, Any] | None) -> "JudgeReport":
        if meta is None:
            return cls(score=None, early_abort=False)
        return cls(**meta)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftReport:
    """What became of the draft of a finished attempt.

    Attributes:
        kept: of its tokens, in the answer.
        score: chance that the draft is acceptable, by the second judge; None where it was not asked
            or could not say.
        confirmed: whether the draft is the answer because of that.
        features: of the draft as this tier reads it, base features; only where the server records.
    """

    kept: int
    score: float | None = None
    confirmed: bool = False
    features: list[float | None] | None = None

    def to_meta(self) -> dict[str, Any]:
        return {slot: getattr(self, slot) for slot in self.__slots__}

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> "DraftReport":
        return cls(**meta)
