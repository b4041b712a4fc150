"""A request's draft while an engine worker reads it."""

from dataclasses import dataclass, field, replace

import torch

from cascadia_sglang.drafts.draft import Draft
from cascadia_sglang.drafts.second_judge import DraftJudge
from cascadia_sglang.drafts.token_agreement import ComparedDraft
from cascadia_sglang.judge.draft_step import DraftStep
from cascadia_sglang.messages import AttemptOrder, DraftReport

# Above every other logit by so much, a token is the one that is sampled, and all stay finite.
_CERTAIN = 1000.0


@dataclass(slots=True, weakref_slot=True)
class DraftSession:
    """A draft, and the results of its forwards so far.

    Attributes:
        is_whole: whether the draft is a complete answer, not a truncated one.
        steps: step values of the draft's places by forward, for the judges; None where they failed.
        next_logits_V: for the token after the kept ones; None until they are known.
        computing_logits_V: of the comparison under way, at the first place that disagrees, or at
            its last place.
        is_kept_apart: whether the request stays out of the prefix cache after the draft is settled.
        rated: report of the second judge, without `kept`; None where it was not asked.
        has_failed: whether a result of a forward over the draft is missing.
    """

    draft: Draft
    order: AttemptOrder
    is_whole: bool
    steps: list[tuple[range, DraftStep | None]] = field(default_factory=list)
    next_logits_V: torch.Tensor | None = None
    computing_logits_V: torch.Tensor | None = None
    skips_prefix_cache: bool = False
    rated: DraftReport | None = None
    has_failed: bool = False

    def restart(self) -> None:
        """Forget earlier results: the draft is read again from its first place."""
        self.draft.restart()
        self.forget_steps()
        self.has_failed = False

    def forget_steps(self) -> None:
        """Free the results of the forwards."""
        self.steps.clear()
        self.next_logits_V = self.computing_logits_V = None

    def logits_to_sample(self) -> torch.Tensor | None:
        """The logits for the next token once the whole draft is computed."""
        return self.computing_logits_V if self.next_logits_V is None else self.next_logits_V

    def is_rated(self, second: DraftJudge) -> bool:
        """Whether the second judge rates the draft, for which it needs every place."""
        return self.is_whole and second.wants(self.order)

    def has_diverged(self) -> bool:
        """Whether the first place is known at which the tier disagrees."""
        return self.draft.preferred is not None

    def add_result(
        self, places: range, compared: ComparedDraft, next_logits_V: torch.Tensor
    ) -> None:
        """Add the result of a comparison of some places.

        Args:
            next_logits_V: at the first place that disagrees, or at the last of `places`.
        """
        was_open = not self.has_diverged()
        self.draft.read(places, compared.agreed, compared.preferred)
        if was_open and self.has_diverged():
            self.next_logits_V = next_logits_V
        step = None if compared.values_nD is None else DraftStep(compared.values_nD)
        self.steps.append((places, step))

    def rate(self, second: DraftJudge) -> None:
        """Ask the second judge, once all places are compared; keep a draft that it confirms."""
        if not self.is_rated(second) or self.next_logits_V is None:
            return
        reported = [
            (step, self.draft.at(places)) for places, step in self.steps if step is not None
        ]
        if sum(len(token_ids) for _, token_ids in reported) != len(self.draft.token_ids):
            return
        features_F = second.features(reported, self.draft.prompt_tokens)
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
        """The report on a draft that is settled."""
        kept_tokens = self.draft.kept_tokens
        return (
            DraftReport(kept=kept_tokens)
            if self.rated is None
            else replace(self.rated, kept=kept_tokens)
        )
