"""One prompt on one tier, and what the router needs of the engine to run it."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.messages import DRAFT_KEY, AttemptOrder, DraftReport, JudgeReport
from cascadia_sglang.prefix.prompt import Prompt

Output = dict[str, Any]


class WorkerLimits(Protocol):
    """What fits a tier's workers, in tokens."""

    @property
    def context_tokens(self) -> int: ...

    @property
    def input_tokens(self) -> int: ...


class Engine(Protocol):
    """The engine as the router sees it. Requests are SGLang's own objects, opaque here."""

    def split(self, request: Any) -> list[list[Any]]:
        """Normalise a request, in place, into its prompts, each a list of single samples."""
        ...

    async def tokenise(self, samples: list[Any]) -> int | None:
        """Tokenise a prompt once for all tiers, in place; its length, None where not known yet."""
        ...

    def prompt_ids(self, sample: Any) -> Sequence[int] | None:
        """Token ids of a tokenised sample's prompt; None where not known yet."""
        ...

    def prompt(self, sample: Any) -> Prompt | None:
        """Of a tokenised sample, for the prefix caches; None where they keep it apart."""
        ...

    def seconds(self, tier_index: int, prompt: Prompt) -> float | None:
        """That an attempt on the tier's best worker would take now; None while that is unknown."""
        ...

    def max_new_tokens(self, sample: Any) -> int | None:
        """Output limit that the client asked for."""
        ...

    def is_judgeable(self, sample: Any, tier_index: int) -> bool:
        """Whether the tier's judge can rate this sample: it is not off for speculative decoding, no
        beams, and a grammar only where its calibration knows enough of them."""
        ...

    def is_scoring(self, sample: Any) -> bool:
        """Whether the sample asks for log-probabilities of its own prompt."""
        ...

    def abort(self, rid: str) -> None:
        """End a run, which then returns what it has written so far."""
        ...

    def takes_draft(self, sample: Any, tier_index: int) -> bool:
        """Whether the tier's answer is the same where it goes on from a smaller tier's draft."""
        ...

    def draft_break_even(self, tier_index: int) -> float | None:
        """Share of a draft that the tier must keep for reading it to pay; None while unknown."""
        ...

    def limits(self, tier_index: int) -> WorkerLimits | None:
        """Of the tier's workers; None while it has none that is ready."""
        ...

    def has_worker(self, tier_index: int) -> bool:
        """Whether an attempt on this tier would find a worker now."""
        ...

    def workers(self, tier_index: int) -> Sequence[str]:
        """Ids of the workers that an attempt on this tier may find now."""
        ...

    def passed_over(self, tier_index: int) -> str | None:
        """Id of a ready worker of a tier that is passed over for its faults; None for none."""
        ...

    def watch_workers(self, changed: Callable[[], None]) -> None:
        """Have this called whenever workers come or go."""
        ...

    def shape(self, sample: Any) -> str:
        """Lengths and field names of a sample, for a log: nothing of its content."""
        ...

    def new_rid_base(self) -> str:
        """What the rids of a request's attempts begin with, unique in this server."""
        ...

    @property
    def is_incremental(self) -> bool:
        """Whether a streamed output continues the one before, rather than repeating it."""
        ...

    def stream(
        self, sample: Any, rid: str, order: AttemptOrder
    ) -> AsyncGenerator[tuple[Output, JudgeReport], None]:
        """As `run`, with every output on the way; the last has a finish reason."""
        ...

    async def run(self, sample: Any, rid: str, order: AttemptOrder) -> tuple[Output, JudgeReport]:
        """Run one sample to its end on the best worker of the order's tier; cancelling aborts it.

        Raises:
            WorkerUnavailableError: if the tier has no worker.
            OverloadError: if its workers hold as many attempts as they may.
            WorkerLostError: if the worker was lost; another one of the tier may do it.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What one prompt's visit to one tier came to.

    Attributes:
        score: mean over the samples, None where one has none; of a confirmed draft that draft's.
        calibrated: whether the score is a probability, rather than a rank; None without a score.
        uncut_score: the mean had every cut-off sample ended by itself; None where none is cut.
        longest: tokens of the longest sample.
        tokens: generated, all samples together; what was kept of a draft is not.
        draft: what became of its draft; None where it read none.
        cached_tokens: of the prompt, found in the worker's cache, all samples together.
        judge_failed: whether a judge that should have rated it did not.
        reason: why the request stayed or left.
        record: the first sample's features, where the server records them.
        escalated: whether the policy sent the request on.
        is_cut: whether the deadline ended it; what it wrote so far is kept.
    """

    tier_index: int
    outputs: list[Output] = field(default_factory=list)
    score: float | None = None
    calibrated: bool | None = None
    early_abort: bool = False
    uncut_score: float | None = None
    longest: int = 0
    tokens: int = 0
    cached_tokens: int = 0
    draft: DraftReport | None = None
    judge_failed: bool = False
    reason: str = ""
    escalated: bool = False
    is_cut: bool = False
    seconds: float = 0.0
    record: dict[str, Any] | None = None

    @property
    def kept(self) -> int | None:
        """Tokens of its draft that are in the answer; None where it read none."""
        return None if self.draft is None else self.draft.kept

    @property
    def confirmed(self) -> bool:
        """Whether the answer is its draft because the second judge says so."""
        return self.draft is not None and self.draft.confirmed

    @property
    def is_whole(self) -> bool:
        """Whether it is one sample's whole answer, rated by the tier's own judge.

        The mean score of several samples is distributed otherwise.
        """
        is_cut = self.early_abort or self.reason == "aborted"
        return not (is_cut or self.confirmed) and len(self.outputs) == 1

    def ended_by_engine(self) -> bool:
        """Whether the engine, not the judge, gave a sample up: such an answer is final."""
        if self.early_abort:
            return False
        reasons = (output["meta_info"].get("finish_reason") for output in self.outputs)
        return any(reason is not None and reason.get("type") == "abort" for reason in reasons)

    def summary(self, tier_name: str) -> dict[str, Any]:
        """As `meta_info.cascadia.attempts` shows it."""
        told = {
            "tier": tier_name,
            "score": self.score,
            "calibrated": self.calibrated,
            "tokens": self.tokens,
            "cached_tokens": self.cached_tokens,
            "seconds": self.seconds,
            "reason": self.reason,
        }
        record = self.record
        if self.draft is not None:
            told["kept"] = self.draft.kept
            if self.draft.score is not None:
                told["draft_score"] = self.draft.score
            if record is not None and self.draft.features is not None:
                record = {**record, "draft": self.draft.features}
        return told if record is None else {**told, "record": record}


def finished_attempt(
    tier_index: int, results: Iterable[tuple[Output, JudgeReport]], started: float
) -> Attempt:
    """Sum up the samples of an attempt; `started` is `time.monotonic()` at its begin."""
    outputs: list[Output] = []
    reports: list[JudgeReport] = []
    draft: DraftReport | None = None
    for output, report in results:
        outputs.append(output)
        reports.append(report)
        told = output["meta_info"].pop(DRAFT_KEY, None)
        draft = draft if told is None else DraftReport.from_meta(told)
    tokens = [output["meta_info"].get("completion_tokens", 0) for output in outputs]
    is_cut = any(report.uncut_score is not None for report in reports)
    score = _mean([report.score for report in reports])
    if draft is not None and draft.confirmed:
        score = draft.score
    uncut = [r.score if r.uncut_score is None else r.uncut_score for r in reports]
    return Attempt(
        tier_index=tier_index,
        outputs=outputs,
        score=score,
        uncut_score=_mean(uncut) if is_cut else None,
        early_abort=any(report.early_abort for report in reports),
        longest=max(tokens, default=0),
        tokens=sum(tokens) - (0 if draft is None else draft.kept),
        draft=draft,
        cached_tokens=sum(output["meta_info"].get("cached_tokens", 0) for output in outputs),
        seconds=time.monotonic() - started,
        record=reports[0].record if reports else None,
    )


def _mean(scores: list[float | None]) -> float | None:
    """None where one is missing."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None


def entry_tier(attempts: Iterable[Attempt]) -> int:
    """Where the climb began: the first tier that the prompt was sent to."""
    return next(attempt.tier_index for attempt in attempts if attempt.reason != "too_long")


def story_of(
    attempts: Sequence[Attempt],
    chosen: Attempt,
    config: CascadeConfig,
    prompt_ids: Sequence[int] | None,
) -> dict[str, Any]:
    """What `meta_info.cascadia` says of an answer.

    Args:
        prompt_ids: of the prompt; shown where the server records.
    """
    names = [tier.name for tier in config.tiers]
    story: dict[str, Any] = {
        "tier": names[chosen.tier_index],
        "tier_index": chosen.tier_index,
        "score": chosen.score,
        "calibrated": chosen.calibrated,
        "attempts": [attempt.summary(names[attempt.tier_index]) for attempt in attempts],
    }
    if config.judge.record:
        story["prompt_ids"] = prompt_ids
    if config.routing.entry != "first":
        story["entry"] = names[entry_tier(attempts)]
    return story


def attempt_rid(base: str, number: int) -> str:
    """Rid of the `number`-th run under a base.

    SGLang aborts by prefix, so no rid may begin another: bases are of one length, and so are the
    numbers.
    """
    return f"{base}-{number:06d}"
