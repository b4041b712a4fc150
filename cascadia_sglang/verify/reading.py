"""A request's draft while an engine worker reads it."""

from dataclasses import dataclass, field, replace

import torch

from cascadia_sglang.judge.judge import Step
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
        is_kept_apart: whether the request stays out of the prefix cache once the draft is settled.
        rated: by the second judge, what was kept left open; None where it was not asked.
    """

    draft: Draft
    order: AttemptOrder
    is_whole: bool
    steps: list[tuple[range, Step | None]] = field(default_factory=list)
    next_logits_V: torch.Tensor | None = None
    is_kept_apart: bool = False
    rated: DraftReport | None = None

    def take_in(self, places: range, compared: Compared, step: Step | None) -> None:
        """Learn what a forward says of some places; of the first of all, begin anew."""
        draft = self.draft
        if places.start == 0:
            self.steps.clear()
            self.next_logits_V = None
        was_open = draft.preferred is None or places.start == 0
        draft.read(places, compared.agreed, compared.preferred)
        if was_open and draft.preferred is not None:
            self.next_logits_V = compared.logits_nV[draft.agreed - places.start].clone()
        self.steps.append((places, step))

    def rate(self, second: DraftJudge) -> None:
        """Ask the second judge, once all places are told; where it confirms, keep the draft."""
        if not self.is_whole or not second.wants(self.order) or self.next_logits_V is None:
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
