"""ncu on one step and one draft: how much of the memory's rate and of the issue slots is used."""

from __future__ import annotations

from bench.gpu_check.checks.tools import around_one_step, counter_values
from bench.gpu_check.results import Check

ROWS = (1, 256)
METRICS = {
    "gpu__time_duration.sum": "device time",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory rate used",
    "sm__inst_issued.avg.pct_of_peak_sustained_active": "issue slots used",
    "launch__registers_per_thread": "registers a thread",
}
# The card's clocks are left as they are.
NCU = (
    *("ncu", "--clock-control", "none", "--csv", "--metrics", ",".join(METRICS)),
    *("--kernel-name", "regex:(row_statistics|fold|draft|disagree)"),
)


def run(check: Check) -> bool:
    """A number for every kernel and metric; ncu profiles each launch once."""
    passed = [_run(check, rows, 1.0 / (len(ROWS) - n)) for n, rows in enumerate(ROWS)]
    return all(passed)


def _run(check: Check, rows: int, share: float) -> bool:
    ran = around_one_step(check, NCU, 2 if check.dry else rows, share)
    last = ran.text.strip().splitlines()[-3:]
    if not ran.is_there:
        check.note("ncu is not on this machine", rows=rows)
        return check.passes("the step runs without ncu", ran.code == 0, last=last) and check.dry
    values = list(counter_values(ran.text))
    for kernel, metric, unit, value in values:
        check.number(f"B={rows}", kernel, METRICS.get(metric, metric), unit or "1", value)
    return check.passes(
        f"ncu reads the counters of kernels at B={rows}",
        ran.code == 0 and len({metric for _, metric, _, _ in values}) == len(METRICS),
        last=last,
    )
