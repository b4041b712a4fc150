"""What `bench.rivals.compare` has measured, as rows and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bench.harness.estimates import Estimate, mean, mean_difference, median_ratio, spread
from bench.rivals.systems import CASCADE, CONCURRENCY, System

ATTAINED = 0.95
# Of the curve of attainment, from an eighth to 32, at steps of the square root of two.
CURVE = tuple(2 ** (step / 2) for step in range(-6, 11))
WITHIN = "answered within SLO scale "
CLOSED = f"concurrency {CONCURRENCY}"


def opened(share: float) -> str:
    """The case of an open loop."""
    return f"open loop at {share:g} of the largest tier's rate"


def scales(system: System, share: float, unit_ms: float) -> list[float]:
    """Round by round the least SLO scale that 95 % of the requests meet.

    Args:
        unit_ms: what the largest tier takes alone for a request.
    """
    return [float(np.quantile(one, ATTAINED)) / unit_ms for one in system.due_ms[share]]


def attained(system: System, share: float, scale: float, unit_ms: float) -> Estimate:
    """The share of all requests that are answered within a scale; n counts requests."""
    times = np.concatenate(system.due_ms[share])
    return Estimate(p50=float((times <= scale * unit_ms).mean()), n=len(times))


def estimates(system: System, unit_ms: float) -> Iterator[tuple[str, str, str, Estimate]]:
    """Case, metric, unit and value of every row of a system."""
    yield CLOSED, "accuracy", "1", mean(system.right)
    yield CLOSED, "requests per second", "1/s", spread(system.requests_per_s)
    yield CLOSED, "latency p50", "ms", spread(system.p50_ms)
    yield CLOSED, "latency p95", "ms", spread(system.p95_ms)
    yield CLOSED, "CPU a request", "s", spread(system.cpu_s)
    yield CLOSED, "CPU a request, main processes", "s", spread(system.main_cpu_s)
    yield CLOSED, "memory after it", "GB", Estimate(p50=system.memory_gb, n=1)
    for share, rounds in system.due_ms.items():
        p50 = [float(np.median(one)) for one in rounds]
        yield opened(share), "latency p50", "ms", spread(p50)
        yield opened(share), "SLO scale", "1", spread(scales(system, share, unit_ms))
        for scale in CURVE:
            within = attained(system, share, scale, unit_ms)
            yield opened(share), f"{WITHIN}{scale:.3f}", "1", within


def relations(systems: Sequence[System]) -> Iterator[tuple[str, str, str, str, Estimate]]:
    """Variant, case, metric, unit and value of the cascade beside every other."""
    cascade, *others = systems
    for other in others:
        over, less = f"{CASCADE} / {other.name}", f"{CASCADE} - {other.name}"
        rates = median_ratio(cascade.requests_per_s, other.requests_per_s)
        yield over, CLOSED, "requests per second", "1", rates
        yield over, CLOSED, "CPU a request", "1", median_ratio(cascade.cpu_s, other.cpu_s)
        yield less, CLOSED, "accuracy", "1", mean_difference(cascade.right, other.right)
        for share in cascade.due_ms:
            # What a request is measured by falls out of the ratio.
            ratio = median_ratio(scales(cascade, share, 1.0), scales(other, share, 1.0))
            yield over, opened(share), "SLO scale", "1", ratio


def page(systems: Sequence[System], rates: Mapping[float, float], unit_ms: float) -> str:
    """Three tables: each loop's systems, and the cascade beside each.

    Args:
        rates: of the open loop, requests per second by share.
    """
    lines = [
        f"Closed loop, {CLOSED}:",
        "",
        "| system | accuracy | requests/s | latency p50, p95 | CPU a request, of it main processes "
        "| memory |",
        "|---|---|---|---|---|---|",
    ]
    for one in systems:
        p50, p95 = np.median(one.p50_ms), np.median(one.p95_ms)
        lines.append(
            f"| {one.name} | {np.mean(one.right):.3f} | {np.median(one.requests_per_s):.1f} | "
            f"{p50:.0f}, {p95:.0f} ms | {1000 * np.median(one.cpu_s):.1f}, "
            f"{1000 * np.median(one.main_cpu_s):.1f} ms | {one.memory_gb:.1f} GB |"
        )
    heads = [f"{rate:.1f}/s, {share:.0%}" for share, rate in rates.items()]
    lines += [
        "",
        "Open loop, the SLO scale that 95 % of the requests meet, and the median latency. The unit "
        f"of the scale is {unit_ms:.0f} ms, the largest tier's mean alone, one at a time. Shares "
        "are of that tier's requests/s in the closed loop.",
        "",
        f"| system | {' | '.join(heads)} |",
        f"|---|{'---|' * len(heads)}",
    ]
    for one in systems:
        cells = [
            f"{np.median(scales(one, share, unit_ms)):.2f}, "
            f"{np.median([np.median(times) for times in one.due_ms[share]]):.0f} ms"
            for share in rates
        ]
        lines.append(f"| {one.name} | {' | '.join(cells)} |")
    lines += ["", "| | what | where | value | 95 % interval |", "|---|---|---|---|---|"]
    lines += [
        f"| {variant} | {metric} | {case} | {v.p50:.3f} | {v.low95:.3f} to {v.high95:.3f} |"
        for variant, case, metric, _, v in relations(systems)
    ]
    return "\n".join(lines)
