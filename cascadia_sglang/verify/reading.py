"""A request's draft while an engine worker reads it."""

from dataclasses import dataclass, field, replace

import torch

from cascadia_sglang.judge.draft_step import DraftStep
from cascadia_sglang.messages import AttemptOrder, DraftReport
from cascadia_sglang.verify.compare import Compared
from cascadia_sglang.verify.confirm import DraftJudge
from cascadia_sglang.verify.draft import Draft

# Above every other logit by so much, a token is the one that is sampled, and all stay finite.
_CERTAIN = 1000.0


@dataclass(slots=True, weakref_slot=True)
class Reading:
    """A draft, and what the forwards have told of it so far.

    Attributes:
        is_whole: whether the draft is a whole answer, not one that was cut.
        steps: what each forward says of the draft's places, for the judges; None where that failed.
        next_logits_V: that the token after what is kept is sampled from; None until they are known.
        computing_logits_V: at the place where the tier parts from the draft among those that are
            being compared, or at the last of these.
        is_kept_apart: whether the request stays out of the prefix cache once the draft is settled.
        rated: by the second judge, what was kept left open; None where it was not asked.
        has_failed: whether a forward over the draft was not read.
    """

    draft: Draft
    order: AttemptOrder
    is_whole: bool
    steps: list[tuple[range, DraftStep | None]] = field(default_factory=list)
    next_logits_V: torch.Tensor | None = None
    computing_logits_V: torch.Tensor | None = None
    is_kept_apart: bool = False
    rated: DraftReport | None = None
    has_failed: bool = False

    def begin_anew(self) -> None:
        """Forget what earlier forwards told: the draft is read again from its first place."""
        self.draft.begin_anew()
        self.forget_steps()
        self.has_failed = False

    def forget_steps(self) -> None:
        """Free what was kept of the forwards."""
        self.steps.clear()
        self.next_logits_V = self.computing_logits_V = None

    def logits_to_sample(self) -> torch.Tensor | None:
        """What the next token is sampled from once the whole draft is computed."""
        return self.computing_logits_V if self.next_logits_V is None else self.next_logits_V

    def is_rated(self, second: DraftJudge) -> bool:
        """Whether the second judge is to see the draft, for which it needs every place."""
        return self.is_whole and second.wants(self.order)

    def is_parted(self) -> bool:
        """Whether the place is known at which the tier's own answer leaves the draft."""
        return self.draft.preferred is not None

    def take_in(self, places: range, compared: Compared, next_logits_V: torch.Tensor) -> None:
        """Learn what a forward says of some places.

        Args:
            next_logits_V: at the place where the tier parts from the draft, or at the last of
                `places`.
        """
        was_open = not self.is_parted()
        self.draft.read(places, compared.agreed, compared.preferred)
        if was_open and self.is_parted():
            self.next_logits_V = next_logits_V
        step = None if compared.values_nD is None else DraftStep(compared.values_nD)
        self.steps.append((places, step))

    def rate(self, second: DraftJudge) -> None:
        """Ask the second judge, once all places are told; where it confirms, keep the draft."""
        if not self.is_rated(second) or self.next_logits_V is None:
            return
        told = [(step, self.draft.at(places)) for places, step in self.steps if step is not None]
        if sum(len(token_ids) for _, token_ids in told) != len(self.draft.token_ids):
            return
        features_F = second.features(told, self.draft.prompt_tokens)
        score = second.score(self.order, features_F)
        least = self.order.confirm_at
        confirmed = score is not None and least is not None and score >= least
        self.rated = DraftReport(
            kept=0, score=score, confirmed=confirmed, features=second.recorded(features_F)
        )
        if confirmed:
            self.draft.confirm()
            self.next_logits_V[self.draft.token_ids[-1]] = self.next_logits_V.max() + _CERTAIN

    def report(self) -> DraftReport:
        """What became of the draft, once that is settled."""
        kept = self.draft.kept
        return DraftReport(kept=kept) if self.rated is None else replace(self.rated, kept=kept)
