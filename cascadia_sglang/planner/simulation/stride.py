"""Strides: runs of decoding steps in which nothing changes but lengths, as one event.

While the same requests decode, nobody joins or ends, and memory suffices, every step adds a token
to each of them. Such steps need no event of their own: their times follow from the first. A
request that is dispatched to the replica ends the stride at the step that runs then. Results are
those of single steps; only sums of floating-point numbers are rounded otherwise.

Shape legend: as in `state`; r a request, w a replica.
"""

from cascadia_sglang.planner.simulation.admission import interpolate
from cascadia_sglang.planner.simulation.compiled import compiled
from cascadia_sglang.planner.simulation.prefix_cache import evict
from cascadia_sglang.planner.simulation.state import (
    DECODE,
    DECODE_ROWS,
    DECODE_S,
    RUNNING,
    SimulatorState,
)

# Steps below which a stride costs more than it saves.
_LEAST_STEPS = 2


@compiled
def begin_work(state: SimulatorState, entity: int, now_s: float, seconds: float) -> None:
    """Give a replica or the front so many seconds of work."""
    is_independent = state.counts_1[0].is_independent == 1
    state.work_s_E[entity] = now_s + seconds if is_independent else seconds


@compiled
def begin_stride(state: SimulatorState, w: int, now_s: float) -> None:
    """Take as many steps at once as change nothing but lengths, up to the next that does."""
    replica = state.replicas_W[w]
    slot = replica.running_slot
    batch, other = state.slots_WS[w, slot], state.slots_WS[w, 1 - slot]
    rows = replica.running
    if state.counts_1[0].has_strides == 0:
        return
    if batch.kind != DECODE or other.kind != DECODE or batch.rows != rows or other.rows != rows:
        return
    if replica.chunked >= 0 or (replica.waiting > 0 and replica.is_full == 0) or rows == 0:
        return
    steps = (replica.capacity_tokens - replica.locked_tokens) // rows
    context = 0
    for row in range(rows):
        request = state.requests_R[state.rows_WBM[w, RUNNING, row]]
        steps = min(steps, request.target_tokens - request.out_tokens - 1)
        steps = min(steps, request.limit_tokens - request.out_tokens - request.in_flight)
        context += request.input_tokens + request.out_tokens + request.in_flight
    if steps < _LEAST_STEPS:
        return
    knots_JK = state.knots_WJK[w]
    seconds = interpolate(knots_JK[DECODE_ROWS], knots_JK[DECODE_S], rows)
    replica.stride_steps = steps
    replica.stride_first_s = batch.step_s
    replica.stride_held_s = 0.0 if replica.is_blocking == 1 else other.step_s
    replica.stride_step_s = seconds + replica.decode_context_s * context
    replica.stride_growth_s = replica.decode_context_s * rows
    begin_work(state, w, now_s, _work_s(state, w, steps + 1))


@compiled
def interrupt_stride(state: SimulatorState, w: int, now_s: float) -> None:
    """End a replica's stride at the step that runs, if a new request may join after it."""
    replica = state.replicas_W[w]
    if replica.stride_steps == 0 or replica.is_full == 1:
        return
    left_s = state.work_s_E[w]
    if state.counts_1[0].is_independent == 1:
        left_s -= now_s
    done_s = _work_s(state, w, replica.stride_steps + 1) - left_s
    low, high = 0, replica.stride_steps
    while low < high:
        middle = (low + high + 1) // 2
        if _work_s(state, w, middle) < done_s:
            low = middle
        else:
            high = middle - 1
    begin_work(state, w, now_s, max(0.0, _work_s(state, w, low + 1) - done_s))
    take_stride(state, w, low)


@compiled
def take_stride(state: SimulatorState, w: int, steps: int) -> None:
    """Let so many steps of a stride end, each followed by the next; the stride is over then."""
    replica = state.replicas_W[w]
    rows = replica.running
    for row in range(rows):
        request = state.requests_R[state.rows_WBM[w, RUNNING, row]]
        request.out_tokens += steps
        request.own_tokens += steps
    replica.locked_tokens += steps * rows
    evict(state, w)
    replica.ratio = max(replica.ratio - steps * replica.ratio_decay, replica.ratio_min)
    replica.steps += steps
    replica.row_steps += steps * rows
    replica.busy_s += _scheduled_s(state, w, steps)
    if steps % 2 == 1:
        replica.running_slot = 1 - replica.running_slot
        replica.slot = 1 - replica.slot
        if replica.held_slot >= 0:
            replica.held_slot = 1 - replica.held_slot
    state.slots_WS[w, replica.running_slot].step_s = _step_s(state, w, steps)
    if replica.held_slot >= 0:
        state.slots_WS[w, replica.held_slot].step_s = _step_s(state, w, steps + 1)
    replica.stride_steps = 0


@compiled
def _known(state: SimulatorState, w: int) -> int:
    """Steps that were scheduled when the stride began: the one that runs, and one held."""
    return 1 if state.replicas_W[w].is_blocking == 1 else 2


@compiled
def _step_s(state: SimulatorState, w: int, index: int) -> float:
    """Seconds of a step, counted from the one that ran when the stride began."""
    replica = state.replicas_W[w]
    scheduled = _known(state, w)
    if index >= scheduled:
        return float(replica.stride_step_s + replica.stride_growth_s * (index - scheduled))
    return float(replica.stride_first_s if index == 0 else replica.stride_held_s)


@compiled
def _scheduled_s(state: SimulatorState, w: int, steps: int) -> float:
    """Seconds of the first steps that the stride schedules itself."""
    replica = state.replicas_W[w]
    growth_s = replica.stride_growth_s * (0.5 * steps * (steps - 1))
    return float(replica.stride_step_s * steps + growth_s)


@compiled
def _work_s(state: SimulatorState, w: int, ends: int) -> float:
    """Seconds from the stride's start until so many steps have ended."""
    if ends == 0:
        return 0.0
    replica = state.replicas_W[w]
    scheduled = _known(state, w)
    seconds = replica.stride_first_s
    if ends >= 2:
        seconds += replica.stride_held_s
    return float(seconds + _scheduled_s(state, w, max(0, ends - scheduled)))
