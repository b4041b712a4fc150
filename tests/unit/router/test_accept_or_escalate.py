"""The rule that accepts or escalates, as one table."""

import itertools

import pytest

from cascadia_sglang.router.accept_or_escalate import Finding, Verdict, decide

ACCEPT, ESCALATE = Verdict.ACCEPT, Verdict.ESCALATE

TABLE = {
    # name: (finding, threshold, on_error, verdict, reason)
    "above": (Finding(score=0.9), 0.8, "escalate", ACCEPT, "accepted"),
    "at": (Finding(score=0.8), 0.8, "escalate", ACCEPT, "accepted"),
    "below": (Finding(score=0.79), 0.8, "accept", ESCALATE, "below_threshold"),
    "zero at zero": (Finding(score=0.0), 0.0, "escalate", ACCEPT, "accepted"),
    "just below one": (Finding(score=0.999), 1.0, "escalate", ESCALATE, "below_threshold"),
    "one at one": (Finding(score=1.0), 1.0, "escalate", ACCEPT, "accepted"),
    "no score": (Finding(score=None), 0.0, "escalate", ESCALATE, "judge_error"),
    "no score, trusted": (Finding(score=None), 1.0, "accept", ACCEPT, "judge_error"),
    "scoring": (Finding(score=None, scoring=True, last=True), 1.0, "escalate", ACCEPT, "scoring"),
    "scoring, pinned": (
        Finding(score=None, scoring=True, pinned=True),
        1.0,
        "escalate",
        ACCEPT,
        "pinned",
    ),
    "confirmed": (Finding(score=0.6, confirmed=True), 0.8, "escalate", ACCEPT, "verified"),
    "confirmed at the last": (
        Finding(score=0.6, confirmed=True, last=True),
        0.8,
        "escalate",
        ACCEPT,
        "verified",
    ),
    "its own answer word by word, weak": (
        Finding(score=0.6, verified=True),
        0.8,
        "escalate",
        ESCALATE,
        "below_threshold",
    ),
    "unjudged": (Finding(score=None, judged=False), 1.0, "escalate", ACCEPT, "unjudged"),
    "unjudged with a score": (
        Finding(score=0.1, judged=False),
        0.8,
        "escalate",
        ACCEPT,
        "unjudged",
    ),
    "cut, good so far, no room above": (
        Finding(score=0.1, uncut_score=0.8, next_has_room=False),
        0.8,
        "escalate",
        ACCEPT,
        "truncated",
    ),
    "cut, good so far, room above": (
        Finding(score=0.1, uncut_score=0.8, next_has_room=True),
        0.8,
        "escalate",
        ESCALATE,
        "below_threshold",
    ),
    "cut, good so far, nothing known of room above": (
        Finding(score=0.1, uncut_score=0.8),
        0.8,
        "escalate",
        ESCALATE,
        "below_threshold",
    ),
    "cut, weak so far, no room above": (
        Finding(score=0.1, uncut_score=0.79, next_has_room=False),
        0.8,
        "escalate",
        ESCALATE,
        "below_threshold",
    ),
    "cut and good as it is": (
        Finding(score=0.8, uncut_score=0.9, next_has_room=False),
        0.8,
        "escalate",
        ACCEPT,
        "accepted",
    ),
    "cut, no score": (
        Finding(score=None, uncut_score=None, next_has_room=False),
        0.8,
        "escalate",
        ESCALATE,
        "judge_error",
    ),
    "not cut, no room above": (
        Finding(score=0.1, next_has_room=False),
        0.8,
        "escalate",
        ESCALATE,
        "below_threshold",
    ),
    "ended early": (Finding(score=0.01, early_abort=True), 0.8, "accept", ESCALATE, "early_abort"),
    "ended early at a low threshold": (
        Finding(score=0.04, early_abort=True),
        0.0,
        "accept",
        ESCALATE,
        "early_abort",
    ),
    "pinned": (Finding(score=0.1, pinned=True), 0.8, "escalate", ACCEPT, "pinned"),
    "pinned without a score": (
        Finding(score=None, pinned=True),
        0.8,
        "escalate",
        ACCEPT,
        "pinned",
    ),
    "pinned last": (Finding(score=0.1, pinned=True, last=True), 0.8, "escalate", ACCEPT, "pinned"),
    "last": (Finding(score=0.1, last=True), 0.8, "escalate", ACCEPT, "last_tier"),
    "last without a score": (Finding(score=None, last=True), 0.8, "escalate", ACCEPT, "last_tier"),
    "last unjudged": (
        Finding(score=None, last=True, judged=False),
        0.8,
        "escalate",
        ACCEPT,
        "last_tier",
    ),
}


@pytest.mark.parametrize(
    ("finding", "threshold", "on_error", "verdict", "reason"), TABLE.values(), ids=TABLE.keys()
)
def test_a_finding_has_one_verdict_and_reason(
    finding: Finding, threshold: float, on_error: str, verdict: Verdict, reason: str
) -> None:
    assert decide(finding, threshold, on_error) == (verdict, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("on_error", ["accept", "escalate"])
def test_a_tier_that_none_is_above_always_accepts(on_error: str) -> None:
    for score, judged, pinned in itertools.product((None, 0.0, 1.0), (True, False), (True, False)):
        finding = Finding(score=score, judged=judged, pinned=pinned, last=True)
        verdict, _ = decide(finding, 1.0, on_error)  # type: ignore[arg-type]
        assert verdict is ACCEPT, finding


def test_a_higher_threshold_never_accepts_more() -> None:
    for score in (0.0, 0.3, 0.5, 1.0):
        verdicts = [decide(Finding(score=score), t / 10, "escalate")[0] for t in range(11)]
        first = verdicts.index(ESCALATE) if ESCALATE in verdicts else len(verdicts)
        assert verdicts == [ACCEPT] * first + [ESCALATE] * (len(verdicts) - first)
