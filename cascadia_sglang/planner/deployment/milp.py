"""The deployment level as a mixed-integer linear programme, solved by HiGHS.

The paper's model (arXiv 2506.04203, deployment level) with candidates side by side. It writes the
GPU budget as an equality; here GPUs may stay idle.

Shape legend: C columns, N entries of the constraint matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import highspy
import numpy as np
from highspy._core import _Highs

from cascadia_sglang.errors import PlanError
from cascadia_sglang.planner.deployment.columns import Columns

MilpStatus = Literal["optimal", "infeasible", "time_limit"]

_OPTIONS: dict[str, Any] = {
    "output_flag": False,
    "threads": 1,
    "parallel": "off",
    "random_seed": 0,
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 0.0,
}
# An integer is taken for one within this distance; HiGHS keeps to 1e-6.
_RESIDUAL = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class MilpResult:
    """What the solver ended with.

    Attributes:
        picks: a column a pool; None where the solver has no plan.
        bound_s: no plan of the columns given is worth less.
    """

    status: MilpStatus
    picks: list[int] | None
    bound_s: float


def solve_milp(
    columns: Columns, *, scale_s: float, start: Sequence[int] | None, time_limit_s: float
) -> MilpResult:
    """Solve the model of these columns.

    Args:
        scale_s: seconds that count as 1 inside, so that the solver's tolerances are shares of it.
        start: a plan to begin with, a column a pool.
        time_limit_s: of the solver's own run.

    Raises:
        PlanError: if HiGHS refuses the model, or ends in a way that is none of the three.
    """
    if not len(columns.value_C):
        return MilpResult(status="infeasible", picks=None, bound_s=float("inf"))
    # Highs, which builds on this class, prints a banner to stdout when it is made.
    solver = _Highs()
    for name, value in {**_OPTIONS, "time_limit": time_limit_s}.items():
        # A wrong name or value is only told, never raised.
        _require(solver.setOptionValue(name, value), f"option {name}={value}")
    _require(solver.passModel(build_model(columns, scale_s)), "the model")
    if start is not None:
        _give_start(solver, columns, start, scale_s)
    _require(solver.run(), "the run")
    return read_result(solver, columns, scale_s)


def build_model(columns: Columns, scale_s: float) -> highspy.HighsLp:
    """The model that picks a candidate, and of it one column a pool.

    Sets:         c in columns, each of one candidate and one pool; r in resources
    Parameters:   value[c], switching[c] in units of scale_s; uses[c, r]; capacity[r]
    Variables:    use[c] in {0, 1}        the plan holds the column   (paper: x_{i,f})
                  take[k] in {0, 1}       the plan is of candidate k
                  worst >= 0              bottleneck alone            (paper: L)
    Minimise:     bottleneck: worst + sum_c switching[c] * use[c]
                  path:       sum_c (value[c] + switching[c]) * use[c]
    Subject to:   one_candidate    sum_k take[k] = 1
                  one_column[k, p] sum_{c of k, p} use[c] = take[k]
                  budget[r]        sum_c uses[c, r] * use[c] <= capacity[r]
                  worst[p]         worst >= sum_{c of p} value[c] * use[c]       bottleneck alone
    """
    number = len(columns.value_C)
    candidates, take_C = np.unique(columns.candidate_C, return_inverse=True)
    is_bottleneck = columns.objective == "bottleneck"
    use, take, worst = (
        np.arange(number),
        number + np.arange(len(candidates)),
        number + len(candidates),
    )
    group_row_C = 1 + take_C * columns.pools + columns.pool_C
    first_budget = 1 + len(candidates) * columns.pools
    entries = [
        (np.zeros(len(candidates)), take, np.ones(len(candidates))),
        (group_row_C, use, np.ones(number)),
    ]
    for pool in range(columns.pools):
        entries.append(
            (1 + np.arange(len(candidates)) * columns.pools + pool, take, -np.ones(len(candidates)))
        )
    for resource in range(len(columns.capacity_R)):
        uses_C = columns.uses_CR[:, resource].astype(np.float64)
        entries.append((np.full(number, first_budget + resource), use, uses_C))
    lower = [1.0] + [0.0] * (first_budget - 1) + [-highspy.kHighsInf] * len(columns.capacity_R)
    upper = [1.0] + [0.0] * (first_budget - 1) + columns.capacity_R.astype(float).tolist()
    cost = columns.switching_C / scale_s
    if is_bottleneck:
        first_worst = len(lower)
        entries.append((first_worst + columns.pool_C, use, -columns.value_C / scale_s))
        pools = np.arange(columns.pools)
        entries.append((first_worst + pools, np.full(columns.pools, worst), np.ones(columns.pools)))
        lower += [0.0] * columns.pools
        upper += [highspy.kHighsInf] * columns.pools
    else:
        cost = cost + columns.value_C / scale_s
    return _lp(
        entries,
        lower,
        upper,
        np.concatenate((cost, np.zeros(len(candidates)), np.ones(int(is_bottleneck)))),
        binaries=number + len(candidates),
    )


def _lp(
    entries: Sequence[tuple[Any, Any, Any]],
    lower: Sequence[float],
    upper: Sequence[float],
    cost: Any,
    *,
    binaries: int,
) -> highspy.HighsLp:
    """Minimise cost over binaries, and at most one number of 0 or more behind them."""
    rows_N, columns_N, values_N = (np.concatenate(part) for part in zip(*entries, strict=True))
    order_N = np.lexsort((columns_N, rows_N))
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(cost), len(lower)
    lp.col_cost_ = np.asarray(cost, dtype=np.float64)
    lp.col_lower_ = np.zeros(len(cost))
    lp.col_upper_ = np.array([1.0] * binaries + [highspy.kHighsInf] * (len(cost) - binaries))
    lp.row_lower_, lp.row_upper_ = np.array(lower), np.array(upper)
    lp.integrality_ = [highspy.HighsVarType.kInteger] * binaries + [
        highspy.HighsVarType.kContinuous
    ] * (len(cost) - binaries)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    starts = np.searchsorted(rows_N[order_N], np.arange(len(lower) + 1))
    lp.a_matrix_.start_ = starts.astype(np.int32)
    lp.a_matrix_.index_ = columns_N[order_N].astype(np.int32)
    lp.a_matrix_.value_ = values_N[order_N].astype(np.float64)
    return lp


def _give_start(solver: _Highs, columns: Columns, picks: Sequence[int], scale_s: float) -> None:
    candidates = np.unique(columns.candidate_C)
    number = len(columns.value_C)
    taken = int(np.searchsorted(candidates, columns.candidate_C[picks[0]]))
    index, value = [*picks, number + taken], [1.0] * (len(picks) + 1)
    if columns.objective == "bottleneck":
        index.append(number + len(candidates))
        value.append(float(columns.value_C[list(picks)].max()) / scale_s)
    status = solver.setSolution(
        len(index), np.array(index, dtype=np.int32), np.array(value, dtype=np.float64)
    )
    _require(status, "the start")


def read_result(solver: _Highs, columns: Columns, scale_s: float) -> MilpResult:
    """Status from the model, never from the call; integers rounded once, here."""
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return MilpResult(status="infeasible", picks=None, bound_s=float("inf"))
    ends: dict[Any, MilpStatus] = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kTimeLimit: "time_limit",
    }
    if status not in ends:
        raise PlanError(f"HiGHS ended with {solver.modelStatusToString(status)}")
    info = solver.getInfo()
    bound_s = float(info.mip_dual_bound) * scale_s
    picks = None
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        use_C = np.array(solver.getSolution().col_value[: len(columns.value_C)])
        if np.abs(use_C - use_C.round()).max(initial=0.0) > _RESIDUAL:
            raise PlanError("HiGHS gave a fraction where an integer was asked for")
        held = np.flatnonzero(use_C.round() == 1)
        picks = held[np.argsort(columns.pool_C[held])].tolist()
    return MilpResult(status=ends[status], picks=picks, bound_s=bound_s)


def _require(status: highspy.HighsStatus, what: str) -> None:
    if status == highspy.HighsStatus.kError:
        raise PlanError(f"HiGHS refuses {what}")
