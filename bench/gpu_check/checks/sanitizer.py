"""compute-sanitizer on one step and one draft: accesses out of bounds, reads of nothing written."""

from __future__ import annotations

from bench.gpu_check.checks.tools import around_one_step, errors_found
from bench.gpu_check.results import Check

TOOLS = ("memcheck", "initcheck")
ROWS = 3


def run(check: Check) -> bool:
    """Each tool over the same program; its last lines tell what it found."""
    passed = [_run(check, tool, 1.0 / (len(TOOLS) - n)) for n, tool in enumerate(TOOLS)]
    return all(passed)


def _run(check: Check, tool: str, share: float) -> bool:
    ran = around_one_step(check, ("compute-sanitizer", "--tool", tool), ROWS, share)
    last = ran.text.strip().splitlines()[-3:]
    if not ran.is_there:
        check.note("compute-sanitizer is not on this machine", tool=tool)
        return check.passes(f"{tool}: the step runs without it", ran.code == 0, last=last) and (
            check.dry
        )
    errors = errors_found(ran.text)
    if errors is not None:
        check.number(f"B={ROWS}", tool, "errors", "1", float(errors))
    return check.passes(f"{tool} finds nothing", errors == 0 and ran.code == 0, last=last)
