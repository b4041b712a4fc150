"""Running judge states of a worker's requests: one row of numbers a request, folded in place.

Compiled, because every decoding step folds every request of the batch: a dozen small NumPy calls
would take longer to call than to compute.

Shape legend: N requests, S state columns, W tail window, B rows of a step, n rows to fold.
"""

import math

import numba
import numpy as np
import numpy.typing as npt

from cascadia_kernels.layout import STEP_VALUES
from cascadia_sglang.arrays import FloatArray

TAIL_WINDOW = 8

# Columns of the step values.
_LOGPROB, _ENTROPY, _MARGIN, _SELF_CERTAINTY, _KNOWN = (
    STEP_VALUES.index(name) for name in ("logprob", "entropy", "margin", "self_certainty", "known")
)
_STEP_COLUMNS = len(STEP_VALUES)

# Columns of a state. First the number of steps, and the sums of the step values.
COUNT = 0
SUM_LOGPROB = 1 + _LOGPROB
SUM_ENTROPY = 1 + _ENTROPY
SUM_MARGIN = 1 + _MARGIN
SUM_SELF_CERTAINTY = 1 + _SELF_CERTAINTY
KNOWN = 1 + _KNOWN  # steps whose log-probability is exact
# Extremes over the steps.
MIN_LOGPROB = 1 + _STEP_COLUMNS
MIN_MARGIN = MIN_LOGPROB + 1
MIN_SELF_CERTAINTY = MIN_LOGPROB + 2
MAX_ENTROPY = MIN_LOGPROB + 3
TAIL = MAX_ENTROPY + 1  # the last W log-probabilities, a ring
FORCED = TAIL + TAIL_WINDOW  # steps whose likeliest token a grammar did not allow; in no sum
STATE_COLUMNS = FORCED + 1

_EMPTY_ROW = np.zeros(STATE_COLUMNS)
_EMPTY_ROW[MIN_LOGPROB : MIN_SELF_CERTAINTY + 1] = np.inf
_EMPTY_ROW[MAX_ENTROPY] = -np.inf

# No row of a step is forced.
NO_ROW = np.zeros(0, dtype=np.bool_)


def empty_states(count: int) -> FloatArray:
    """States of `count` requests that have no token yet, [N, S]."""
    return np.tile(_EMPTY_ROW, (count, 1))


_FOLD = "void(float64[:,:], int64[:], int64[:], {}[:,:], boolean[:])"


# Bounds are checked: a step of another shape is an IndexError, not a read of foreign memory.
@numba.njit(
    [_FOLD.format("float32"), _FOLD.format("float64")], cache=True, nogil=True, boundscheck=True
)
def fold_step(
    states_NS: FloatArray,
    states_n: npt.NDArray[np.int64],
    rows_n: npt.NDArray[np.int64],
    values_BD: npt.NDArray[np.floating],
    forced_B: npt.NDArray[np.bool_],
) -> None:
    """Fold rows of a decoding step into the states of some requests, in place, in order.

    Args:
        states_NS: all states.
        states_n: the states to fold into.
        rows_n: the rows of the step that belong to them.
        values_BD: step values in the order of `STEP_VALUES`.
        forced_B: rows whose likeliest token a grammar did not allow; they are counted, no more.
            `NO_ROW` for none.
    """
    for index in range(len(rows_n)):
        answer, row = states_NS[states_n[index]], rows_n[index]
        if len(forced_B) > 0 and forced_B[row]:
            answer[FORCED] += 1.0
            continue
        values = values_BD[row]
        logprob = float(values[_LOGPROB])
        answer[TAIL + int(answer[COUNT]) % TAIL_WINDOW] = logprob
        answer[COUNT] += 1.0
        for column in range(_STEP_COLUMNS):
            answer[1 + column] += float(values[column])
        # A value that is NaN wins.
        for least, column in (
            (MIN_LOGPROB, _LOGPROB),
            (MIN_MARGIN, _MARGIN),
            (MIN_SELF_CERTAINTY, _SELF_CERTAINTY),
        ):
            value = float(values[column])
            if value < answer[least] or math.isnan(value):
                answer[least] = value
        entropy = float(values[_ENTROPY])
        if entropy > answer[MAX_ENTROPY] or math.isnan(entropy):
            answer[MAX_ENTROPY] = entropy


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
