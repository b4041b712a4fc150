"""Asks the last tier about a share of the answers: would it have said the same?

Off the request's path: the answer has been decided by then and is not waited with. What a shadow
runs into stays here. It runs only while a worker of the last tier is idle; what arrives while none
is, or while a few wait already, is left out.

Short answers are compared by their words, for which the last tier answers too. Of long ones it
reads the smaller tier's answer, in one prefill, and says how likely its tokens are.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import AttemptFailedError
from cascadia_sglang.failure_counts import is_logged
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.same_answer import is_short, same_answer
from cascadia_sglang.judge.watch.agreement import WINDOW, AgreementWatch
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import Engine, attempt_rid
from cascadia_sglang.router.events import PromptFinished
from cascadia_sglang.router.feedback.labelling import (
    ACCEPTED,
    LAST,
    LabelledVisit,
    Ticket,
    draw_ticket,
    label_of,
    visits_of,
)
from cascadia_sglang.self_calibration.label import DEFAULT_LIKELY, Label, LabelRates, VisitLabel

logger = logging.getLogger(__name__)

MOST_AT_A_TIME = 2
DEADLINE_S = 60.0
_LOOK_S = 0.02

# A sample, and an answer to it by its tier and token ids: its mean log-probability under the last
# tier.
Likelihood = Callable[[Any, int, Sequence[int]], Awaitable[float | None]]


class ShadowMetrics(Protocol):
    """Where shadow runs are counted."""

    def shadowed(self, tier_index: int, outcome: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """What makes labels of shadows.

    Attributes:
        tiers: that labels are for.
        take: is given every label.
        likelihood: reads an answer on the last tier.
    """

    tiers: frozenset[int]
    take: Callable[[Label], None]
    likelihood: Likelihood


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is to be asked.

    Attributes:
        chosen_tier: whose answer went out.
        score: of that answer; None without a judge.
        text: of that answer.
        last_text: the last tier's answer; None where it has not given one.
        visits: to be labelled.
        watches: by tier index, of the calibrations that made the scores.
    """

    sample: Any
    ticket: Ticket
    chosen_tier: int
    score: float | None
    text: str
    last_text: str | None
    visits: list[LabelledVisit]
    watches: dict[int, AgreementWatch]


class Shadow:
    """Owns the shadow runs, and a watch over the agreement of each calibrated tier."""

    def __init__(
        self,
        engine: Engine,
        rate: float,
        metrics: ShadowMetrics,
        is_idle: Callable[[], bool],
        *,
        last_tier: int,
    ) -> None:
        """`rate` is the share of the accepted answers that the last tier is asked about.

        `is_idle` says whether a worker of the last tier has nothing to do.
        """
        self.watches: dict[int, AgreementWatch] = {}  # by tier index
        self.counts: Counter[tuple[int, str]] = Counter()  # by tier index and outcome
        # By tier index: score of the tier's active calibration, and whether the last tier agrees.
        self.labelled: dict[int, deque[tuple[float, bool]]] = {}
        self.rates = LabelRates(attempts=1.0 if rate else 0.0, accepted=rate)
        self.likely = DEFAULT_LIKELY
        self._labelling: Labelling | None = None
        self._engine = engine
        self._metrics = metrics
        self._is_idle = is_idle
        self._last_tier = last_tier
        self._failures = 0
        self._random = Random(0)
        self._running: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(MOST_AT_A_TIME)

    def watch(self, tier: int, calibration: Calibration) -> None:
        """Compare a tier's agreement with what this calibration expects, from now on."""
        self.watches[tier] = AgreementWatch(calibration.agreement)
        self.labelled.pop(tier, None)

    def label(self, labelling: Labelling, rates: LabelRates, likely: float) -> None:
        """Make labels from now on.

        Args:
            rates: shares of the prompts that are labelled.
            likely: mean log-probability from which a long answer counts as the last tier's own.
        """
        self._labelling, self.rates, self.likely = labelling, rates, likely

    @property
    def is_labelling(self) -> bool:
        """Whether labels are made of shadows."""
        return self._labelling is not None

    def ticket(self, controls: Controls, config: CascadeConfig) -> Ticket | None:
        """The ticket of a prompt of one sample that arrives.

        None where it is not drawn, or the cascade does not decide alone on its way.

        A failure costs the prompt nothing. The 1st, 10th, 100th ... is logged.
        """
        try:
            return self._drawn(controls, config)
        except Exception:  # the request goes on without a ticket
            self._failures += 1
            if is_logged(self._failures):
                logger.exception(
                    "an answer is not compared with the last tier's, failure %d", self._failures
                )
            return None

    def _drawn(self, controls: Controls, config: CascadeConfig) -> Ticket | None:
        if not (self.rates.attempts and controls.is_own_way and controls.max_tier is None):
            return None
        has_room = (
            len(self._running) < MOST_AT_A_TIME
            and self._engine.has_worker(self._last_tier)
            and self._is_idle()
        )
        labels = self._labelling is not None
        return draw_ticket(self._random, self.rates, config, labels=labels, has_room=has_room)

    def prompt_finished(self, event: PromptFinished) -> None:
        """Perhaps ask the last tier about a prompt that was answered."""
        ticket, chosen = event.prompt.ticket, event.chosen
        if ticket is None or chosen is None:
            return
        visits = self._visits(event.attempts, ticket)
        reached_last = chosen.tier_index == self._last_tier
        if chosen.reason not in (LAST if reached_last else ACCEPTED):
            return
        sample = event.prompt.sample
        # A session's history, an adapter or an image shapes an answer that the ids do not tell.
        if self._engine.prompt(sample, chosen.tier_index) is None:
            return
        if self._engine.refusal(sample, self._last_tier) is not None:
            return
        if not reached_last and not ticket.is_drawn:
            return
        if not ticket.has_room:
            self._count(chosen.tier_index, "skipped")
            return
        if reached_last and not visits:
            return
        text = str(chosen.outputs[0].get("text", ""))
        job = _Job(
            sample=sample,
            ticket=ticket,
            chosen_tier=chosen.tier_index,
            score=chosen.score,
            text=text,
            last_text=text if reached_last else None,
            visits=visits,
            watches=dict(self.watches),
        )
        task = asyncio.create_task(self._run(job))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def stop(self) -> None:
        """Abort what runs, and start nothing more."""
        self.rates = LabelRates()
        for task in self._running:
            task.cancel()

    def _visits(self, attempts: Sequence[Attempt], ticket: Ticket) -> list[LabelledVisit]:
        """What is to be labelled."""
        if self._labelling is None or not ticket.is_labelled:
            return []
        return visits_of(attempts, self._labelling.tiers)

    async def _run(self, job: _Job) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                last_text = job.last_text
                if last_text is None and self._needs_answer(job):
                    last_text = await self._answer(job.sample)
                visits = [
                    await self._labelled(job.sample, visit, last_text) for visit in job.visits
                ]
        except Exception as error:  # noqa: BLE001  nobody waits for it
            logger.debug("a shadow run failed: %s", error)
            self._count(job.chosen_tier, "failed")
            return
        if job.last_text is None:
            self._show(job, last_text, visits)
        for visit, label in zip(job.visits, visits, strict=True):
            self._keep_score(job, visit.tier, visit.score, label.agrees(self.likely))
        prompt_ids = self._engine.prompt_ids(job.sample)
        if self._labelling is not None and visits and prompt_ids is not None:
            reached_last = job.last_text is not None
            self._labelling.take(
                label_of(job.ticket, prompt_ids, visits, reached_last=reached_last)
            )

    def _needs_answer(self, job: _Job) -> bool:
        is_labelled = any(visit.tier == job.chosen_tier for visit in job.visits)
        # What a calibration file says of agreement is by the words, however long.
        return not is_labelled or any(is_short(visit.text) for visit in job.visits)

    async def _answer(self, sample: Any) -> str:
        order = AttemptOrder(
            tier_index=self._last_tier,
            threshold=0.0,
            early_abort=None,
            earlier_scores=(None,) * self._last_tier,
        )
        async with self._turns:
            await self._idle()
            rid = attempt_rid(self._engine.new_rid_base(), 1)
            output, _ = await self._engine.run(sample, rid, order)
        if output["meta_info"]["finish_reason"].get("type") == "abort":
            raise AttemptFailedError("the run was aborted")
        return str(output.get("text", ""))

    async def _labelled(
        self, sample: Any, visit: LabelledVisit, last_text: str | None
    ) -> VisitLabel:
        assert self._labelling is not None
        same = None
        if last_text is not None and is_short(visit.text) and is_short(last_text):
            same = same_answer(visit.text, last_text)
        async with self._turns:
            await self._idle()
            likelihood = await self._labelling.likelihood(sample, visit.tier, visit.token_ids)
        if same is None and likelihood is None:
            raise AttemptFailedError("the last tier did not say how likely the answer is")
        return visit.labelled(same, likelihood)

    async def _idle(self) -> None:
        """Wait until a worker of the last tier has nothing to do."""
        while not self._is_idle():
            await asyncio.sleep(_LOOK_S)

    def _show(self, job: _Job, last_text: str | None, visits: list[VisitLabel]) -> None:
        """Count whether the accepted answer agrees, and show it to its tier's watch."""
        chosen_label = next((visit for visit in visits if visit.tier == job.chosen_tier), None)
        if chosen_label is not None:
            agrees = chosen_label.agrees(self.likely)
        else:
            agrees = same_answer(job.text, last_text or "")
            self._keep_score(job, job.chosen_tier, job.score, agrees)
        self._count(job.chosen_tier, "agreed" if agrees else "differed")
        if job.chosen_tier in self.watches and self._is_active(job, job.chosen_tier):
            self.watches[job.chosen_tier].add(bool(agrees))

    def _is_active(self, job: _Job, tier: int) -> bool:
        """Whether the calibration that scored this tier's answer is still the active one."""
        return job.watches.get(tier) is self.watches.get(tier)

    def _keep_score(self, job: _Job, tier: int, score: float | None, agrees: bool | None) -> None:
        """Keep a score of the active calibration with the last tier's opinion, if there is one."""
        if score is not None and agrees is not None and self._is_active(job, tier):
            self.labelled.setdefault(tier, deque(maxlen=WINDOW)).append((score, agrees))

    def _count(self, tier_index: int, outcome: str) -> None:
        if tier_index == self._last_tier:
            return
        self.counts[tier_index, outcome] += 1
        self._metrics.shadowed(tier_index, outcome)
