"""Every metric of the cascade: its name, kind, labels and meaning.

Names have no colon: prometheus_client replaces it in the samples, and only there, where the reader
asks for OpenMetrics, as Prometheus does. A query for the written name then finds nothing.
"""

from dataclasses import dataclass
from typing import Literal

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)
_START_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0)
_SCORES = tuple(step / 20 for step in range(1, 21))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric with all its series.

    Attributes:
        name: with the unit at its end; a counter's ends in `_total`.
        meaning: what it counts, its unit, and what each label says; the help text on `/metrics`.
        buckets: upper bounds of a histogram's buckets, in the metric's unit.
        had_colon: whether the name once was `cascadia:…`.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    had_colon: bool = True


FAMILIES = (
    Family(
        name="cascadia_requests_total",
        kind="counter",
        labels=("tier", "reason"),
        meaning="Prompts that ended. tier: the tier that answered, none for an error. reason: why"
        " the answer went out, or error_ and the HTTP status. error_499: the client hung "
        "up.",
    ),
    Family(
        name="cascadia_escalations_total",
        kind="counter",
        labels=("from_tier", "reason"),
        meaning="Answers that were refused, so that the prompt escalated to a larger tier. "
        "from_tier: the tier of the answer. reason: why it was refused.",
    ),
    Family(
        name="cascadia_poison_total",
        kind="counter",
        labels=("outcome",),
        meaning="Requests that end workers. outcome: named for a request that ended two workers "
        "by errors of theirs, refused for the same body within a minute.",
        had_colon=False,
    ),
    Family(
        name="cascadia_shadow_total",
        kind="counter",
        labels=("tier", "outcome"),
        meaning="Accepted answers that the last tier should label (judge.label_rate). tier: the "
        "tier of the accepted answer. outcome: agreed, differed, failed, or skipped "
        "because no worker of the last tier was idle.",
    ),
    Family(
        name="cascadia_labels_total",
        kind="counter",
        labels=("tier", "kind"),
        meaning="Labels of a tier that calibrates itself: whether the last tier agrees with an "
        "answer. kind: words where both answers are short, else likelihood.",
        had_colon=False,
    ),
    Family(
        name="cascadia_effective_labels",
        kind="gauge",
        labels=("tier",),
        meaning="Number of equally weighted labels that the labels of a tier which calibrates "
        "itself are worth.",
        had_colon=False,
    ),
    Family(
        name="cascadia_self_calibrations_total",
        kind="counter",
        labels=("tier", "outcome"),
        meaning="Fits of a tier that calibrates itself. outcome: fitted where the fit became "
        "active, refused where it was no better than the active one, failed for an error.",
        had_colon=False,
    ),
    Family(
        name="cascadia_tokens_total",
        kind="counter",
        labels=("tier", "kind"),
        meaning="Generated tokens. tier: the tier that generated them. kind: answered for the "
        "client's answer, discarded for attempts that were not used.",
    ),
    Family(
        name="cascadia_prefix_cached_tokens_total",
        kind="counter",
        labels=("tier",),
        meaning="Prompt tokens that attempts found in a prefix cache. tier: the attempt's tier.",
    ),
    Family(
        name="cascadia_verify_kept_tokens_total",
        kind="counter",
        labels=("tier",),
        meaning="Tokens of a smaller tier's draft that stayed in the answer. tier: the tier that "
        "read the draft.",
    ),
    Family(
        name="cascadia_prefix_warm_total",
        kind="counter",
        labels=("tier", "outcome"),
        meaning="Prompts whose prefix a tier computed before they reached it. tier: that tier. "
        "outcome: finished, or left before the last chunk.",
    ),
    Family(
        name="cascadia_prefix_warm_tokens_total",
        kind="counter",
        labels=("tier", "kind"),
        meaning="Prompt tokens that a tier computed before their prompt reached it. tier: that "
        "tier. kind: warmed for all of them, used for those that an attempt used.",
    ),
    Family(
        name="cascadia_worker_starts_total",
        kind="counter",
        labels=("tier", "outcome"),
        meaning="Starts of workers, the first ones included. tier: the worker's tiers, joined by "
        "+. outcome: ready or failed.",
    ),
    Family(
        name="cascadia_worker_start_phase_seconds_total",
        kind="counter",
        labels=("tier", "phase"),
        meaning="Seconds of the starts of workers, by phase. tier: the worker's tiers, joined by "
        "+. phase: process, scheduler, weights, kv_pool or graphs.",
    ),
    Family(
        name="cascadia_score",
        kind="histogram",
        labels=("tier",),
        buckets=_SCORES,
        meaning="Scores of answers, from 0 to 1. The probability that the answer is right, or a "
        "rank where the tier has no calibration (cascadia_calibrated). tier: the tier of the "
        "answer.",
    ),
    Family(
        name="cascadia_attempt_seconds",
        kind="histogram",
        labels=("tier",),
        buckets=_SECONDS,
        meaning="Seconds of an attempt on a tier, with its wait in the worker's queue. tier: the "
        "attempt's tier.",
    ),
    Family(
        name="cascadia_request_seconds",
        kind="histogram",
        labels=("tier",),
        buckets=_SECONDS,
        meaning="Seconds from the arrival of a prompt to the end of its answer, over all tiers. "
        "tier: the tier that answered.",
    ),
    Family(
        name="cascadia_ttft_seconds",
        kind="histogram",
        labels=("tier",),
        buckets=_SECONDS,
        meaning="Seconds from the arrival of a prompt to the first part of its answer. tier: the "
        "tier that answered.",
    ),
    Family(
        name="cascadia_worker_start_seconds",
        kind="histogram",
        labels=("tier",),
        buckets=_START_SECONDS,
        meaning="Seconds from the start of a worker's process until it is ready. tier: the "
        "worker's tiers, joined by +.",
    ),
    Family(
        name="cascadia_reallocation_seconds",
        kind="histogram",
        buckets=_START_SECONDS,
        meaning="Seconds from the start of a move of capacity until the new plan is active.",
    ),
    Family(
        name="cascadia_plan_solve_seconds",
        kind="histogram",
        buckets=_SECONDS,
        meaning="Seconds that the planner took for a plan, whatever came of it.",
    ),
    Family(
        name="cascadia_workers",
        kind="gauge",
        labels=("tier", "state"),
        meaning="Workers now. tier: the worker's tiers, joined by +. state: starting, standby, "
        "asleep, ready or draining.",
    ),
    Family(
        name="cascadia_plan_number",
        kind="gauge",
        meaning="Number of the active plan. 1: the plan of the cascade file.",
    ),
    Family(
        name="cascadia_gear",
        kind="gauge",
        meaning="Active gear. 0: the plan's own thresholds. Each gear above lowers them "
        "(routing.gears).",
    ),
    Family(
        name="cascadia_threshold",
        kind="gauge",
        labels=("tier",),
        had_colon=False,
        meaning="Active threshold: the score, from 0 to 1, from which an answer is accepted. It "
        "moves where a rate is kept. tier: the tier of the answer.",
    ),
    Family(
        name="cascadia_calibrated",
        kind="gauge",
        labels=("tier",),
        had_colon=False,
        meaning="1 where a tier's scores are calibrated probabilities, 0 where they are ranks. "
        "tier: the tier of the answers.",
    ),
    Family(
        name="cascadia_judge_alarm",
        kind="gauge",
        labels=("tier", "kind"),
        had_colon=False,
        meaning="1 while an alarm of a tier's judge fires, else 0. tier: the tier of the answers. "
        "kind: drift where scores or features differ from the calibration's, agreement where fewer "
        "accepted answers equal the last tier's.",
    ),
    Family(
        name="cascadia_escalation_rate_asked",
        kind="gauge",
        labels=("tier",),
        had_colon=False,
        meaning="Share, from 0 to 1, of a tier's requests that is to escalate "
        "(routing.escalation_rate). NaN where thresholds are fixed. tier: the tier left.",
    ),
    Family(
        name="cascadia_escalation_rate",
        kind="gauge",
        labels=("tier",),
        had_colon=False,
        meaning="Share, from 0 to 1, of a tier's last judged requests that escalated, at most 100. "
        "NaN before the first, and where thresholds are fixed. tier: the tier left.",
    ),
    Family(
        name="cascadia_tokens_per_step",
        kind="gauge",
        labels=("tier",),
        had_colon=False,
        meaning="Mean number of tokens that a decode step gave a request, since the start. 1 "
        "without speculative decoding, NaN before the first step. tier: the tier of the workers.",
    ),
    Family(
        name="cascadia_info",
        kind="gauge",
        labels=("version", "tiers", "thresholds"),
        had_colon=False,
        meaning="Always 1. version: of cascadia-sglang. tiers: their names, the smallest first. "
        "thresholds: the active ones, in the same order, empty where a rate is kept.",
    ),
)

BY_NAME = {family.name: family for family in FAMILIES}
