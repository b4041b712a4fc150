"""The page of `bench.serving.compare`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.harness.estimates import mean, mean_difference, median_ratio, spread
from bench.harness.rows import Facts, source_line
from bench.serving.arms import Arm
from bench.serving.ceiling import Ceiling


def report(
    cascade: Arm, alone: Sequence[Arm], sweep: Sequence[Arm], best: Ceiling, facts: Facts, case: str
) -> str:
    """Markdown: a line an arm, what they say together, where the numbers come from."""
    largest = alone[-1]
    lines = [
        "# The demo cascade beside its tiers",
        "",
        f"{len(cascade.right)} prompts, {case}. Each tier alone is a plain SGLang server. Accuracy "
        "with its 95 % interval (normal); the rest are medians over blocks of prompts.",
        "",
        "| | accuracy | requests/s | p50 ms | p95 ms | TTFT p50 ms | TTFT p95 ms "
        "| tokens discarded | answered by |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_line(arm) for arm in (cascade, *alone)),
        "",
        "TTFT is of streamed requests. The cascade streams once it has accepted an answer.",
        "",
        f"The cascade at one threshold for all tiers, on {len(sweep[0].right)} of the prompts:",
        "",
        "| | accuracy | requests/s | answered by |",
        "|---|---|---|---|",
    ]
    for arm in sweep:
        right = mean(arm.right)
        rate = spread(arm.requests_per_s).p50
        lines.append(f"| {arm.name} | {right.p50:.4f} | {rate:.4g} | {_shares(arm)} |")
    gap = mean_difference(cascade.right, largest.right)
    ratio = median_ratio(cascade.requests_per_s, largest.requests_per_s)
    large_per_s = len(largest.right) / largest.seconds
    cascade_per_s = len(cascade.right) / cascade.seconds
    reach = ", ".join(f"{share:.3f}" for share in best.reach)
    lines += [
        "",
        f"- Cascade less {largest.name}, paired: accuracy {gap.p50:+.4f} "
        f"[{gap.low95:+.4f}, {gap.high95:+.4f}].",
        f"- Cascade over {largest.name}: {ratio.p50:.2f} times the requests/s "
        f"[{ratio.low95:.2f}, {ratio.high95:.2f}].",
        "- Ceiling, from the rates and answers of the tiers alone and a judge that is never "
        f"wrong: {best.in_turn_per_s:.4g} requests/s where the tiers take turns "
        f"({best.in_turn_per_s / large_per_s:.2f} times {largest.name}), "
        f"{best.side_by_side_per_s:.4g} where they do not disturb one another; tiers reached by "
        f"{reach} of the prompts, accuracy {best.accuracy:.4f}.",
        f"- The cascade reaches {cascade_per_s / best.in_turn_per_s:.2f} of the first and "
        f"{cascade_per_s / best.side_by_side_per_s:.2f} of the second.",
        "",
        source_line(facts),
        "",
    ]
    return "\n".join(lines)


def _line(arm: Arm) -> str:
    right = mean(arm.right)
    times = (
        arm.requests_per_s,
        arm.latency_p50_ms,
        arm.latency_p95_ms,
        arm.ttft_p50_ms,
        arm.ttft_p95_ms,
    )
    numbers = " | ".join(f"{spread(values).p50:.4g}" for values in times)
    discarded = f"{arm.discarded_share():.3f}" if arm.tiers else ""
    return (
        f"| {arm.name} | {right.p50:.4f} [{right.low95:.4f}, {right.high95:.4f}] | {numbers} "
        f"| {discarded} | {_shares(arm)} |"
    )


def _shares(arm: Arm) -> str:
    return ", ".join(f"{tier} {share:.3f}" for tier, share in arm.shares().items())
