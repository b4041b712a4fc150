"""Values of the metrics' labels that are known before the first request.

Others join when they first occur.
"""

ANSWER_REASONS = (
    "accepted",
    "truncated",
    "verified",
    "last_tier",
    "pinned",
    "scoring",
    "committed",
    "unjudged",
    "judge_error",
    "degraded",
    "aborted",
)
# The last tier answers for these alone: no tier above could take the prompt.
LAST_TIER_REASONS = ("last_tier", "verified", "pinned", "scoring", "aborted")
ESCALATION_REASONS = ("below_threshold", "early_abort", "judge_error")
ERROR_STATUSES = (400, 401, 404, 413, 429, 431, 499, 500, 503, 504)
POISON_OUTCOMES = ("named", "refused")
SHADOW_OUTCOMES = ("agreed", "differed", "failed", "skipped")
LABEL_KINDS = ("words", "likelihood")
FIT_OUTCOMES = ("fitted", "refused", "failed")
WARMING_OUTCOMES = ("finished", "left")
START_OUTCOMES = ("ready", "failed")
