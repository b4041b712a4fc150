"""What `GET /cascadia/status` says."""

from docs.generate.markdown import code, document, paragraph, table

SERVER_FIELDS = {
    "tiers": "An item per tier, smallest first. See below.",
    "workers": "An item per worker. See below.",
    "nodes": "An item per node, the host of the server first. See below.",
    "prefixes": "The prefix index. See below.",
    "bypassed": "Names of the tiers that the breaker bypasses.",
    "thresholds": "The configured thresholds, as a list. Empty with an escalation rate.",
    "gear": "The current gear. 0: the thresholds of the plan.",
    "plan_number": "Number of the active plan, from 1.",
    "active": "Requests that the cascade is answering.",
    "poison": "`named`: requests that were found to end workers. `refused`: requests that were "
    "refused because their body equals that of a named one.",
    "rids": "Request ids that the server process holds, attempts included.",
}

TIER_FIELDS = {
    "name": "Name of the tier.",
    "model_path": "Its model, as in the cascade file.",
    "voice": "The name of its voice: tiers of one voice share tokenizer, template and parsers.",
    "judge": "`on` or `off`: whether the tier's answers are scored.",
    "calibrated": "Whether its scores are probabilities.",
    "threshold": "The current threshold. null for the last tier.",
    "escalation_rate": "The configured share of the tier's requests that escalate. null with a "
    "fixed threshold.",
    "recent_escalation_rate": "The share of the last 100 answers that escalated.",
    "answered": "Answers that the tier returned to clients.",
    "escalated": "Its answers that were dropped for the next tier.",
    "judge_errors": "Answers that the judge should have scored and did not.",
    "drift": "How far the last answers are from those of the calibration. null with too few.",
    "shadow": "How often accepted answers equal the last tier's. null before the first.",
    "self_calibration": "Progress and result of self-calibration. null for other tiers.",
    "warm": "Work of warming. null if warming is off.",
    "drafts": "Work of drafts. null if the tier reads none.",
    "tokens_per_step": "Mean number of tokens that a decode step gave a request. 1 without "
    "speculative decoding. null before the first step.",
}

DRIFT_FIELDS = {
    "scores": "How many scores were compared.",
    "distance": "Largest difference of the two distribution functions.",
    "limit": "The distance from which the alarm fires.",
    "features": "The features of the last answers beside the calibration's. null if its file has "
    "no summary of them.",
    "alarm": "Whether either alarm fires.",
}

SHIFT_FIELDS = {
    "answers": "How many answers were compared.",
    "distance": "Hotelling's T² of their mean features.",
    "limit": "The distance from which the alarm fires.",
    "alarm": "Whether it fires.",
}

SHADOW_FIELDS = {
    "answers": "Accepted answers that the last tier answered too, of the last 1,000.",
    "agreed": "Those that equal the last tier's.",
    "expected": "`[agreed, answers]` of the calibration. null if it has none.",
    "p_value": "Probability of so few agreements if nothing has changed. null with too few.",
    "alarm": "Whether it is below 0.001.",
}

SELF_CALIBRATION_FIELDS = {
    "state": "`collecting`, `fitted`, or `refused`.",
    "labels": "Labels so far.",
    "by_words": "Labels whose agreement was decided by equal words.",
    "by_likelihood": "Labels whose agreement was decided by likelihood.",
    "effective_labels": "Equally weighted labels with the same information.",
    "needed": "Effective labels that the first fit needs.",
    "fits": "Fits that took effect.",
    "refused": "Fits that were refused.",
    "failed": "Fits that ended with an error.",
    "why": "Reason of the last refusal or failure.",
    "likely": "Least mean log-probability with which the last tier agrees with a long answer.",
    "bound": "The bound of the current score. See below.",
    "unseen": "Labels that did not fit the score.",
    "auroc": "AUROC of the score on unseen labels.",
    "rank_auroc": "AUROC of the rank on unseen labels.",
    "ece": "Expected calibration error of the score on unseen labels.",
}

BOUND_FIELDS = {
    "disagree_at_most": "The last tier disagrees with at most this share of the accepted answers. "
    "null with too few.",
    "confidence": "Confidence of this bound.",
    "threshold": "The threshold for which it holds.",
    "accepted": "Accepted answers that it is computed from.",
    "differed": "Those that the last tier disagrees with.",
    "needed": "Least number of accepted answers for a bound.",
}

WARM_FIELDS = {
    "warmed_tokens": "Prompt tokens that were computed ahead.",
    "used_tokens": "Those that an attempt then used.",
    "finished": "Prompts that were warmed to their last chunk.",
    "left": "Prompts whose warming stopped before that.",
}

DRAFTS_FIELDS = {
    "read": "Drafts that the tier read.",
    "verified": "Those that became its answer as a whole.",
    "confirmed": "Those of them that the second judge accepted.",
    "read_tokens": "Tokens of the drafts that it read.",
    "kept_tokens": "Those that it kept.",
    "left": "Drafts that were not read, because that would not have paid.",
    "break_even": "Share of the tokens that the last draft had to keep. null while unknown.",
}

WORKER_FIELDS = {
    "id": "Name of the worker.",
    "tiers": "Names of the tiers that it serves.",
    "state": "`starting`, `standby`, `asleep`, `ready`, `draining` or `dead`.",
    "node": "Name of the node that it runs on.",
    "pids": "Its process ids, if it runs on the host of the server.",
    "running": "Attempts that it runs or holds in its queue.",
    "devices": "An item per accelerator.",
    "start_s": "Seconds of each phase of its start.",
}

DEVICE_FIELDS = {
    "device": "Number of the accelerator.",
    "gpu_share": "The worker's part of its memory, if it is shared.",
    "memory_gb": "The same in gigabytes.",
}

NODE_FIELDS = {
    "name": "Name of the node.",
    "state": "`up`, or `away` if it does not answer.",
    "local": "Whether the server itself runs there.",
    "devices": "Its accelerators. On a host without any: workers that it may hold.",
    "memory_gib": "Free GiB of its largest accelerator when the server started. null if unknown.",
    "silent_s": "Seconds since its last sign. null for the server's own host.",
    "waiting": "Workers by pool that were lost with the node and have found no other place.",
}

PREFIX_FIELDS = {
    "held_tokens": "Tokens of prefixes by worker.",
    "blocks": "Pairs of block and worker in the index.",
    "bytes": "Memory of the index.",
    "refused": "Blocks for which the index had no room.",
    "told": "Predictions that follow from a worker's events.",
    "guessed": "Predictions without events.",
    "events": "Counts of the events and of gaps between them.",
    "promises": "In `told` and `guessed`: how many predictions.",
    "stale_per_1000": "In `told` and `guessed`: wrong predictions of a thousand.",
}

SECTIONS = (
    ("The answer", SERVER_FIELDS),
    ("An item of `tiers`", TIER_FIELDS),
    ("`drift` of a tier", DRIFT_FIELDS),
    ("`features` of `drift`", SHIFT_FIELDS),
    ("`shadow` of a tier", SHADOW_FIELDS),
    ("`self_calibration` of a tier", SELF_CALIBRATION_FIELDS),
    ("`bound` of `self_calibration`", BOUND_FIELDS),
    ("`warm` of a tier", WARM_FIELDS),
    ("`drafts` of a tier", DRAFTS_FIELDS),
    ("An item of `workers`", WORKER_FIELDS),
    ("An item of `devices`", DEVICE_FIELDS),
    ("An item of `nodes`", NODE_FIELDS),
    ("`prefixes`", PREFIX_FIELDS),
)


def page() -> str:
    """A table per object of the answer."""
    parts: list[str] = []
    for title, meanings in SECTIONS:
        rows = [(code(name), text) for name, text in meanings.items()]
        parts += [f"## {title}", table(("field", "meaning"), rows)]
    return document(
        "Status",
        paragraph(
            "`GET /cascadia/status` answers with a JSON object. `cascadia status --json` prints "
            "it, and `cascadia status` prints the most important fields as a table."
        ),
        *parts,
    )
