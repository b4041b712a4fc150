"""What `cascadia NAME` does: a module per command, with `add_arguments` and `run`.

Besides 0 and the codes of `cli`, commands end with these.
"""

from cascadia_sglang.cli import BAD_INPUT
from cascadia_sglang.errors import (
    FloorNotShownError,
    InfeasiblePlanError,
    PlanError,
    PlanTimeoutError,
)

# Nothing keeps what was asked.
INFEASIBLE = 3
# Solved, but what was asked is not reached or not shown; or the time limit came first.
NOT_REACHED = 4


def plan_exit_code(kind: type[PlanError]) -> int:
    """The code with which `cascadia plan` ends for an error of this class."""
    if issubclass(kind, FloorNotShownError | PlanTimeoutError):
        return NOT_REACHED
    return INFEASIBLE if issubclass(kind, InfeasiblePlanError) else BAD_INPUT
