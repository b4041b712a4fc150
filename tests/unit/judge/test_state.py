"""Running states: equal to a recomputation from all tokens, and never another request's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge import state
from cascadia_sglang.judge.state import StateRow, StateTable, empty_states, fold_step
from tests.unit.judge.judging import fold_values

Step = tuple[float, float, float, float, float]

# In the order of STEP_VALUES: logprob, entropy, margin, self-certainty, known.
steps = st.tuples(
    st.floats(-50.0, 0.0),
    st.floats(0.0, 12.0),
    st.floats(0.0, 40.0),
    st.floats(0.0, 40.0),
    st.sampled_from([0.0, 1.0]),
)


def plain_state(answer: list[Step]) -> FloatArray:
    """The state of an answer, from all of its steps at once."""
    expected = np.zeros(state.STATE_COLUMNS)
    logprob, entropy, margin, certainty, known_N = zip(*answer, strict=True)
    expected[state.COUNT] = len(answer)
    expected[state.SUM_LOGPROB] = math.fsum(logprob)
    expected[state.MIN_LOGPROB] = min(logprob)
    expected[state.SUM_ENTROPY] = math.fsum(entropy)
    expected[state.MAX_ENTROPY] = max(entropy)
    expected[state.SUM_MARGIN] = math.fsum(margin)
    expected[state.MIN_MARGIN] = min(margin)
    expected[state.SUM_SELF_CERTAINTY] = math.fsum(certainty)
    expected[state.MIN_SELF_CERTAINTY] = min(certainty)
    expected[state.KNOWN] = known_N.count(1.0)
    for index, value in enumerate(logprob):
        expected[state.TAIL + index % state.TAIL_WINDOW] = value
    return expected


def fold_alone(answer: list[Step]) -> FloatArray:
    states_NS = empty_states(1)
    for step in answer:
        fold_values(states_NS, [0], np.array([step]))
    folded: FloatArray = states_NS[0]
    return folded


@given(st.lists(steps, min_size=1, max_size=3 * state.TAIL_WINDOW))
def test_a_folded_answer_equals_its_recomputation(answer: list[Step]) -> None:
    np.testing.assert_allclose(fold_alone(answer), plain_state(answer), rtol=1e-12, atol=1e-12)


@given(st.lists(st.lists(steps, min_size=1, max_size=12), min_size=1, max_size=5))
def test_answers_folded_together_are_those_folded_alone(answers: list[list[Step]]) -> None:
    states_NS = empty_states(len(answers))
    for index in range(max(map(len, answers))):
        # Last request first, so that a row is not its place in the batch.
        rows = [row for row in reversed(range(len(answers))) if index < len(answers[row])]
        values = np.array([answers[row][index] for row in rows])
        fold_values(states_NS, rows, values)
    for row, answer in enumerate(answers):
        np.testing.assert_array_equal(states_NS[row], fold_alone(answer))


def test_a_fold_leaves_the_other_rows_as_they_are() -> None:
    states_NS = empty_states(3)
    before = states_NS.copy()
    fold_values(states_NS, [1], np.array([[-1.0, 2.0, 3.0, 4.0, 1.0]]))
    np.testing.assert_array_equal(states_NS[[0, 2]], before[[0, 2]])
    assert states_NS[1, state.COUNT] == 1


def test_the_tail_holds_the_last_logprobs_only() -> None:
    window = state.TAIL_WINDOW
    answer: list[Step] = [(-float(n), 0.0, 0.0, 0.0, 1.0) for n in range(2 * window + 3)]
    tail = fold_alone(answer)[state.TAIL : state.TAIL + window]
    assert sorted(tail) == sorted(-float(n) for n in range(window + 3, 2 * window + 3))


def test_nan_in_a_step_reaches_the_state() -> None:
    folded = fold_alone([(-1.0, 1.0, 1.0, 1.0, 1.0), (math.nan, 1.0, 1.0, 1.0, 1.0)])
    assert math.isnan(folded[state.SUM_LOGPROB])
    assert math.isnan(folded[state.MIN_LOGPROB])


def fold_one(table: StateTable, row: StateRow, logprob: float) -> None:
    fold_values(table.states_NS, [row.index], np.array([[logprob, 1.0, 2.0, 3.0, 1.0]]))


def test_a_full_table_grows_and_keeps_what_it_holds() -> None:
    table = StateTable(capacity=2)
    rows = []
    for number in range(9):
        rows.append(table.new_row())
        fold_one(table, rows[-1], -float(number))
    assert len({row.index for row in rows}) == 9
    assert [row.state()[state.SUM_LOGPROB] for row in rows] == [-float(n) for n in range(9)]


def test_a_row_is_used_again_once_its_request_is_dropped_and_starts_empty() -> None:
    table = StateTable(capacity=1)
    row = table.new_row()
    fold_one(table, row, -5.0)
    index = row.index
    del row
    again = table.new_row()
    assert again.index == index
    assert len(table.states_NS) == 1
    np.testing.assert_array_equal(again.state(), empty_states(1)[0])


def test_a_row_in_use_is_never_given_out_twice() -> None:
    table = StateTable(capacity=2)
    held = table.new_row()
    for _ in range(5):
        table.new_row()  # dropped at once
    others = [table.new_row() for _ in range(3)]
    assert held.index not in {row.index for row in others}


def test_a_table_folds_each_value_into_its_row() -> None:
    table = StateTable()
    rows = [table.new_row() for _ in range(3)]
    values = np.array([[-float(n), 0.0, 0.0, 0.0, 1.0] for n in (1, 2, 3)])
    fold_values(table.states_NS, [row.index for row in reversed(rows)], values)
    assert [row.state()[state.SUM_LOGPROB] for row in rows] == [-3.0, -2.0, -1.0]


def test_a_state_handed_out_is_a_copy() -> None:
    row = StateTable().new_row()
    row.state()[:] = 99.0
    np.testing.assert_array_equal(row.state(), empty_states(1)[0])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_empty_states_have_no_token(count: int) -> None:
    states_NS = empty_states(count)
    assert states_NS.shape == (count, state.STATE_COLUMNS)
    assert (states_NS[:, state.COUNT] == 0).all()


def test_rows_are_folded_in_order_where_the_state_is_the_same() -> None:
    """As the places of a draft are."""
    answer = [(-float(n), 1.0, 2.0, 3.0, 1.0) for n in range(1, 12)]
    states_NS = empty_states(1)
    fold_values(states_NS, [0] * len(answer), np.array(answer))
    np.testing.assert_array_equal(states_NS[0], fold_alone(answer))


def test_forced_rows_are_counted_and_in_nothing_else() -> None:
    states_NS = empty_states(2)
    values = np.array([[-1.0, 1.0, 2.0, 3.0, 1.0]] * 3, dtype=np.float32)
    forced = np.array([True, False, True])
    fold_step(states_NS, np.array([1, 0]), np.array([2, 1]), values, forced)
    assert states_NS[:, state.FORCED].tolist() == [0.0, 1.0]
    assert states_NS[:, state.COUNT].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("shape", [(1, 5), (2, 2)], ids=["rows", "columns"])
def test_a_step_of_another_shape_is_an_error_and_no_read_of_foreign_memory(
    shape: tuple[int, int],
) -> None:
    with pytest.raises(IndexError):
        fold_values(empty_states(2), [0, 1], np.zeros(shape))
