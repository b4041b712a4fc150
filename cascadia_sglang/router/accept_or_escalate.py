"""The rule that accepts an answer or sends the request on. Pure."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from cascadia_sglang.acceptance import accepts


class Verdict(Enum):
    """What happens to a finished attempt."""

    ACCEPT = "accept"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is known of a finished attempt.

    Attributes:
        score: None where the judge has none.
        early_abort: whether the judge ended it; such an answer is incomplete.
        judged: whether this request can be judged at all.
        pinned: whether the client chose this tier.
        scoring: whether it rates the prompt, which one tier does for all requests.
        last: whether no tier above may answer.
        verified: whether it is the draft of a tier below, word by word.
        confirmed: whether it is that because the second judge says that it is good enough.
        visible: whether the client has seen some of it.
        uncut_score: of an answer that was cut off at a length limit: its score had it ended there.
        next_has_room: whether the next tier may write more tokens than this answer has.
    """

    score: float | None
    early_abort: bool = False
    judged: bool = True
    pinned: bool = False
    scoring: bool = False
    last: bool = False
    verified: bool = False
    confirmed: bool = False
    visible: bool = False
    uncut_score: float | None = None
    next_has_room: bool = True


def decide(
    finding: Finding, threshold: float, on_error: Literal["accept", "escalate"]
) -> tuple[Verdict, str]:
    """The verdict and its reason.

    An answer whose only fault is that it was cut off, at a limit that the next tier would meet too,
    is accepted: written as well, it would be cut off there again. One that is weak besides goes on,
    for the next tier may come to the end sooner.
    """
    if finding.pinned:
        return Verdict.ACCEPT, "pinned"
    if finding.scoring:
        return Verdict.ACCEPT, "scoring"
    if finding.confirmed or (finding.last and finding.verified):
        return Verdict.ACCEPT, "verified"
    if finding.last:
        return Verdict.ACCEPT, "last_tier"
    if finding.visible:
        return Verdict.ACCEPT, "committed"
    if finding.early_abort:
        return Verdict.ESCALATE, "early_abort"
    if not finding.judged:
        return Verdict.ACCEPT, "unjudged"
    if finding.score is None:
        return (Verdict.ACCEPT if on_error == "accept" else Verdict.ESCALATE), "judge_error"
    if accepts(finding.score, threshold):
        return Verdict.ACCEPT, "accepted"
    uncut = finding.uncut_score
    if uncut is not None and accepts(uncut, threshold) and not finding.next_has_room:
        return Verdict.ACCEPT, "truncated"
    return Verdict.ESCALATE, "below_threshold"
