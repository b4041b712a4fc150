"""Running judge states of a worker's requests: one row of numbers a request, folded in place.

Shape legend: N requests of a step, S state columns, W tail window.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

TAIL_WINDOW = 8

# Sums over the steps, the step values' in their own order.
COUNT = 0
SUM_LOGPROB = 1
SUM_ENTROPY = 2
SUM_MARGIN = 3
SUM_SELF_CERTAINTY = 4
KNOWN = 5  # steps whose log-probability is exact
# Extremes over the steps.
MIN_LOGPROB = 6
MIN_MARGIN = 7
MIN_SELF_CERTAINTY = 8
MAX_ENTROPY = 9
TAIL = 10  # the last W log-probabilities, a ring
FORCED = TAIL + TAIL_WINDOW  # steps whose likeliest token a grammar did not allow; in no sum
STATE_COLUMNS = FORCED + 1

_LOGPROB, _ENTROPY, _MARGIN, _SELF_CERTAINTY, _KNOWN = range(5)
_MINIMA = [_LOGPROB, _MARGIN, _SELF_CERTAINTY]

_EMPTY_ROW = np.zeros(STATE_COLUMNS)
_EMPTY_ROW[MIN_LOGPROB : MIN_SELF_CERTAINTY + 1] = np.inf
_EMPTY_ROW[MAX_ENTROPY] = -np.inf


def empty_states(count: int) -> FloatArray:
    """States of `count` requests that have no token yet, [N, S]."""
    return np.tile(_EMPTY_ROW, (count, 1))


def fold_step(states_NS: FloatArray, rows: npt.NDArray[np.intp], values: FloatArray) -> None:
    """Fold one decoding step into the states of some requests, in place.

    Args:
        states_NS: all states.
        rows: the states to fold into, without repeats, [n].
        values: step values in the order of `cascadia_kernels.STEP_VALUES`, [n, 5].
    """
    folded = states_NS[rows]
    tail_column = TAIL + folded[:, COUNT].astype(np.intp) % TAIL_WINDOW
    folded[np.arange(len(rows)), tail_column] = values[:, _LOGPROB]
    folded[:, COUNT] += 1.0
    folded[:, SUM_LOGPROB : KNOWN + 1] += values
    minima = folded[:, MIN_LOGPROB : MIN_SELF_CERTAINTY + 1]
    np.minimum(minima, values[:, _MINIMA], out=minima)
    np.maximum(folded[:, MAX_ENTROPY], values[:, _ENTROPY], out=folded[:, MAX_ENTROPY])
    states_NS[rows] = folded


class StateTable:
    """Owns the states of a worker's requests; a row belongs to its `StateRow` until that dies."""

    def __init__(self, capacity: int = 64) -> None:
        self.states_NS = empty_states(capacity)
        self._free = list(range(capacity))

    def new_row(self) -> "StateRow":
        """Take an empty row; the table grows as needed."""
        if not self._free:
            capacity = len(self.states_NS)
            self.states_NS = np.concatenate((self.states_NS, empty_states(capacity)))
            self._free.extend(range(capacity, 2 * capacity))
        row = self._free.pop()
        self.states_NS[row] = _EMPTY_ROW
        return StateRow(self, row)

    def fold(self, rows: Iterable["StateRow"], values: FloatArray) -> None:
        """Fold one step; `values[i]` belongs to the i-th row."""
        fold_step(self.states_NS, np.fromiter((row.index for row in rows), np.intp), values)

    def count_forced(self, rows: Iterable["StateRow"]) -> None:
        """Count one step whose likeliest token a grammar did not allow."""
        self.states_NS[[row.index for row in rows], FORCED] += 1.0

    def states(self, rows: Iterable["StateRow"]) -> FloatArray:
        """Copies of some states, [n, S]."""
        copies: FloatArray = self.states_NS[[row.index for row in rows]]
        return copies

    def free_row(self, index: int) -> None:
        self._free.append(index)


class StateRow:
    """A request's place in the table. It lives on the request, so that retraction, chunked prefill
    and overlap cannot mix two requests up, and gives its row back when the request is dropped."""

    __slots__ = ("_table", "index")

    def __init__(self, table: StateTable, index: int) -> None:
        self._table = table
        self.index = index

    def state(self) -> FloatArray:
        """A copy of the state, [S]."""
        state_S: FloatArray = self._table.states_NS[self.index].copy()
        return state_S

    def __del__(self) -> None:
        self._table.free_row(self.index)
