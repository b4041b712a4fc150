"""A calibration's report as a page of markdown."""

from collections.abc import Iterable, Sequence

from cascadia_sglang.calibration.fit.certify import promises
from cascadia_sglang.calibration.fit.statistics import Interval
from cascadia_sglang.calibration.fit.thresholds import ThresholdResult
from cascadia_sglang.calibration.report.probes import probe_lines
from cascadia_sglang.calibration.report.report import Report, target_text
from cascadia_sglang.calibration.report.verdict import verdict


def page(report: Report, picture: str | None = None) -> str:
    """The whole page; `picture` is a file beside it."""
    parts = [
        "# Calibration",
        _what(report),
        "## Thresholds",
        _thresholds(report),
        "## What is promised",
        "\n".join(f"- {line}" for line in promises(report.cascade.certificate, _names(report))),
        _assumption(report),
        f"{verdict(report.cascade).line().capitalize()}.",
        "## The scores",
        _scores(report),
        "\n".join(f"- {line}." for line in probe_lines(report.cascade)),
        "## On the way",
        _prefix(report),
    ]
    if report.groups:
        parts += ["## Groups left out of the fit", _groups(report)]
    if report.cascade.thresholds:
        parts += ["## A weaker judge", _weaker(report)]
    if picture is not None:
        parts += [f"![quality, cost and calibration of the scores]({picture})"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _names(report: Report) -> tuple[str, ...]:
    return report.cascade.settings.tier_names


def _what(report: Report) -> str:
    counts = ", ".join(f"{count} to {name}" for name, count in report.prompts.items())
    repeats = sum(report.repeats.values())
    repeated = (
        f" {repeats} of them repeat an earlier one, {report.repeats['certify']} in the certifying "
        "part; the bounds count every one as a draw of its own."
        if repeats
        else ""
    )
    return (
        f"{sum(report.prompts.values())} prompts, labelled by `{report.label}`, divided by a hash "
        f"of the prompt: {counts}.{repeated} Every number below is measured on the certifying part "
        "unless it says otherwise."
    )


def _thresholds(report: Report) -> str:
    cascade = report.cascade
    costs = ", ".join(
        f"{name} {cost:.3g}"
        for name, cost in zip(_names(report), cascade.settings.tier_cost, strict=True)
    )
    listed = ", ".join(f"{threshold:g}" for threshold in cascade.thresholds)
    table = _table(
        ("part", *_OUTCOME),
        [("choose", *_outcome(cascade.chosen)), ("certify", *_outcome(cascade.held_out))],
    )
    return (
        f"`routing.thresholds: [{listed}]`: {target_text(cascade.settings.target)}. "
        f"Costs of an answer: {costs}.\n\n{table}"
    )


_OUTCOME = ("quality", "below the last tier's", "at most (95 %)", "share at each tier", "cost")


def _outcome(outcome: ThresholdResult) -> tuple[str, ...]:
    return (
        f"{outcome.quality:.4f}",
        f"{outcome.loss:.4f}",
        f"{outcome.loss_high95:.4f}",
        ", ".join(f"{share:.3f}" for share in outcome.shares),
        f"{outcome.cost:.3f}",
    )


def _assumption(report: Report) -> str:
    bounds = report.cascade.certificate.risks
    shared = " The error is shared equally between the tiers." if len(bounds) > 1 else ""
    return (
        "One-sided Clopper-Pearson bounds on answers that shaped neither scores nor thresholds."
        f"{shared} They hold for prompts that are drawn as these were, independently."
    )


def _scores(report: Report) -> str:
    rows = [
        (
            tier.tier,
            str(tier.reached),
            f"{tier.accuracy:.4f}",
            name.replace("_", " "),
            *(_interval(measured[metric]) for metric in _METRICS),
        )
        for tier in report.tiers
        for name, measured in tier.by.items()
    ]
    return (
        "On the prompts that reach the tier; 95 % bootstrap intervals. ECE has 15 bins of equal "
        "mass; resampling adds noise to each, so its interval leans upward. Baselines are made "
        "probabilities by a logistic regression of their own.\n\n"
        + _table(("tier", "reached", "accuracy", "by", *_METRICS.values()), rows)
    )


_METRICS = {
    "auroc": "AUROC",
    "ece": "ECE",
    "brier": "Brier",
    "accuracy_rejection_area": "accuracy-rejection area",
}


def _interval(value: Interval) -> str:
    if value.value != value.value:
        return "not defined"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _prefix(report: Report) -> str:
    rows = [
        (
            tier.tier,
            str(checkpoint.tokens),
            str(checkpoint.n),
            f"{checkpoint.accepted:.3f}",
            f"{checkpoint.ece:.3f}",
        )
        for tier in report.tiers
        for checkpoint in tier.prefix
    ]
    if not rows:
        return ""
    joint = ", ".join(
        f"{tier.tier} {tier.prefix_ece:.3f}" for tier in report.tiers if tier.prefix_ece is not None
    )
    return (
        "The probability, after some tokens, that the final score reaches the threshold. ECE over "
        f"all checkpoints: {joint}.\n\n"
        + _table(("tier", "tokens", "answers", "reach the threshold", "ECE"), rows)
    )


def _groups(report: Report) -> str:
    rows = [
        (
            group.group,
            group.tier,
            str(group.by["auroc"].n),
            f"{group.accuracy:.3f}",
            _interval(group.by["auroc"]),
            _interval(group.by["ece"]),
        )
        for group in report.groups
    ]
    return (
        "Each group's answers, whichever tier they reach, by scores fitted on the other groups; on "
        "the choosing and certifying parts.\n\n"
        + _table(("group", "tier", "answers", "accuracy", "AUROC", "ECE"), rows)
    )


def _weaker(report: Report) -> str:
    settings = report.cascade.settings
    rows = []
    for weaker in report.weaker:
        for how, outcome in (("kept", weaker.kept), ("chosen anew", weaker.rechosen)):
            deviations = ", ".join(f"{sd:.2f}" for sd in weaker.noise_sd)
            start = (f"{weaker.auroc:g}", deviations, how)
            if outcome is None:
                rows.append((*start, "none meet it", *[""] * len(_OUTCOME), "no"))
                continue
            held = "yes" if settings.target.is_met(outcome) else "no"
            listed = ", ".join(f"{threshold:g}" for threshold in outcome.thresholds)
            rows.append((*start, listed, *_outcome(outcome), held))
    header = ("AUROC", "noise", "thresholds", "", *_OUTCOME, "target met")
    return (
        "Normal noise on the log-odds of every score brings each tier's AUROC down to the first "
        "column.\n\n" + _table(header, rows)
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
