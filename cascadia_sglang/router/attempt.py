"""One attempt of a prompt on a tier, and its result."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.messages import (
    DRAFT_KEY,
    EVERY_TOKEN,
    AttemptOrder,
    DraftReport,
    JudgeReport,
    Recording,
)
from cascadia_sglang.router.engine_protocol import Output, Refusal


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
        draft_tokens: length of the draft that it was given.
        cached_tokens: of the prompt, found in the worker's cache, all samples together.
        judge_failed: whether a judge that should have rated it did not.
        reason: why the request stayed or left.
        record: the first sample's features, where the attempt was asked for them.
        features: of a whole answer, where its calibration has a summary of them.
        escalated: whether the policy sent the request on.
        is_cut: whether the deadline ended it; what it wrote so far is kept.
        started_s: `time.monotonic()` at its begin; 0 where it has no outputs.
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
    draft_tokens: int = 0
    judge_failed: bool = False
    reason: str = ""
    escalated: bool = False
    is_cut: bool = False
    started_s: float = 0.0
    seconds: float = 0.0
    record: dict[str, Any] | None = None
    features: list[float] | None = None

    @property
    def kept_tokens(self) -> int | None:
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

    def summary(self, tier_name: str, recording: Recording) -> dict[str, Any]:
        """The attempt as `meta_info.cascadia.attempts` shows it."""
        summary: dict[str, Any] = {
            "tier": tier_name,
            "score": self.score,
            "calibrated": self.calibrated,
            "tokens": self.tokens,
            "cached_tokens": self.cached_tokens,
            "seconds": self.seconds,
            "reason": self.reason,
        }
        if self.draft is not None:
            summary["kept"] = self.draft.kept
            if self.draft.score is not None:
                summary["draft_score"] = self.draft.score
        if recording and self.record is not None:
            summary["record"] = self._record_with_draft(self.record)
            if recording == EVERY_TOKEN:
                summary["output_ids"] = self.outputs[0].get("output_ids")
        return summary

    def _record_with_draft(self, record: dict[str, Any]) -> dict[str, Any]:
        """The features of the answer, and of the draft where the tier read one."""
        if self.draft is None or self.draft.features is None:
            return record
        return {**record, "draft": self.draft.features}


def finished_attempt(
    order: AttemptOrder, results: Iterable[tuple[Output, JudgeReport]], started_s: float
) -> Attempt:
    """Sum up the samples of an attempt; `started_s` is `time.monotonic()` at its begin."""
    outputs: list[Output] = []
    reports: list[JudgeReport] = []
    draft: DraftReport | None = None
    for output, report in results:
        outputs.append(output)
        reports.append(report)
        of_sample = output["meta_info"].pop(DRAFT_KEY, None)
        draft = draft if of_sample is None else DraftReport.from_meta(of_sample)
    tokens = [output["meta_info"].get("completion_tokens", 0) for output in outputs]
    is_cut = any(report.uncut_score is not None for report in reports)
    score = _mean([report.score for report in reports])
    if draft is not None and draft.confirmed:
        score = draft.score
    uncut = [r.score if r.uncut_score is None else r.uncut_score for r in reports]
    return Attempt(
        tier_index=order.tier_index,
        outputs=outputs,
        score=score,
        uncut_score=_mean(uncut) if is_cut else None,
        early_abort=any(report.early_abort for report in reports),
        longest=max(tokens, default=0),
        tokens=sum(tokens) - (0 if draft is None else draft.kept),
        draft=draft,
        draft_tokens=len(order.draft),
        cached_tokens=sum(output["meta_info"].get("cached_tokens", 0) for output in outputs),
        started_s=started_s,
        seconds=time.monotonic() - started_s,
        record=reports[0].record if reports else None,
        features=reports[0].features if len(reports) == 1 else None,
    )


def _mean(scores: list[float | None]) -> float | None:
    """None where one is missing."""
    numbers = [score for score in scores if score is not None]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(scores) else None


# Why a tier is not asked a prompt at all.
NOT_SENT = ("too_long", "unreadable", *(refusal.value for refusal in Refusal))


def entry_tier(attempts: Iterable[Attempt]) -> int:
    """Where the climb began: the first tier that the prompt was sent to."""
    return next(attempt.tier_index for attempt in attempts if attempt.reason not in NOT_SENT)


def story_of(
    attempts: Sequence[Attempt],
    chosen: Attempt,
    config: CascadeConfig,
    prompt_ids: Sequence[int] | None,
) -> dict[str, Any]:
    """What `meta_info.cascadia` says of an answer.

    Args:
        config: of the server; `judge.record` has the features and the prompt's ids shown.
        prompt_ids: of the prompt.
    """
    names = [tier.name for tier in config.tiers]
    recording = config.judge.record
    story: dict[str, Any] = {
        "tier": names[chosen.tier_index],
        "tier_index": chosen.tier_index,
        "score": chosen.score,
        "calibrated": chosen.calibrated,
        "attempts": [attempt.summary(names[attempt.tier_index], recording) for attempt in attempts],
    }
    if recording:
        story["prompt_ids"] = prompt_ids
    if config.routing.entry != "first":
        story["entry"] = names[entry_tier(attempts)]
    return story
