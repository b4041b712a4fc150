"""Discrete events: arrivals, the front's work, the ends of batch steps.

Requests arrive at the front, one process that takes them one by one; it hands them to the replica
of their tier with the fewest attempts, gets the finished attempts back over the wire, and answers
or hands them to the next tier. A replica is a loop over batches. Where they share a host, all that
are busy progress at the same rate: cores / busy, at most 1. Replicas on one device take turns on
it: while n of them are busy each progresses at 1 / n, so their steps take as long as one after the
other.

A blocking replica (a CPU) computes in its scheduler's thread: the results of a batch are seen after
the next batch has run. One that is not (a GPU) schedules a batch while the one before runs, and
sees results when they are there.

Shape legend: as in `state`; r a request, w a replica.
"""

import numpy as np

from cascadia_sglang.planner.simulation.admission import append_waiting
from cascadia_sglang.planner.simulation.batching import schedule, take_results
from cascadia_sglang.planner.simulation.compiled import compiled
from cascadia_sglang.planner.simulation.state import (
    DONE,
    NONE,
    RECEIVE,
    RETURN,
    TOO_LONG,
    SimulatorState,
)
from cascadia_sglang.planner.simulation.stride import (
    begin_stride,
    begin_work,
    interrupt_stride,
    take_stride,
)


@compiled
def run_events(state: SimulatorState) -> int:
    """Run until every request is settled.

    Returns:
        Requests that are not settled where nothing happens any more; -1 if the run was stopped,
        because it is worse than allowed.
    """
    counts = state.counts_1[0]
    total = len(state.requests_R)
    front = len(state.replicas_W)
    now_s = 0.0
    arrived = 0
    while counts.settled < total:
        arrival_s = state.requests_R[arrived].arrival_s if arrived < total else np.inf
        wired_s = state.ring_R[counts.wire_head].wire_s if counts.wire > 0 else np.inf
        limit_s = min(arrival_s, wired_s)
        if counts.is_independent == 1:
            first = _first_done(state)
            next_s = min(limit_s, state.work_s_E[first])
        else:
            first, next_s = _progress(state, now_s, limit_s)
        if next_s == np.inf:
            return int(total - counts.settled)
        now_s = next_s
        if arrival_s <= now_s:
            _arrive(state, arrived)
            arrived += 1
        elif wired_s <= now_s:
            r = state.ring_R[counts.wire_head].wire
            counts.wire_head = (counts.wire_head + 1) % total
            counts.wire -= 1
            _queue_at_front(state, r, RETURN)
        elif first == front:
            state.work_s_E[front] = np.inf
            _finish_front(state, now_s)
        else:
            state.work_s_E[first] = np.inf
            _finish_step(state, first, now_s)
        if state.work_s_E[front] == np.inf and counts.front > 0:
            begin_work(state, front, now_s, _front_work_s(state))
        if counts.is_stopped == 1:
            return -1
    return 0


@compiled
def _first_done(state: SimulatorState) -> int:
    """Who is done next; of equals the front, then the first."""
    first = len(state.replicas_W)
    first_s = state.work_s_E[first]
    for entity in range(first):
        if state.work_s_E[entity] < first_s:
            first, first_s = entity, state.work_s_E[entity]
    return int(first)


@compiled
def _progress(state: SimulatorState, now_s: float, limit_s: float) -> tuple[int, float]:
    """Let all that are busy work until the first is done, or until a time; who it is, and when."""
    front = len(state.replicas_W)
    busy = 0
    state.busy_W[:] = 0
    for entity in range(front + 1):
        if state.work_s_E[entity] < np.inf:
            busy += 1
            if entity < front:
                state.busy_W[state.replicas_W[entity].device] += 1
    first = front
    first_s = state.work_s_E[front]
    for entity in range(front):
        wait_s = state.work_s_E[entity] * _turns(state, entity)
        if wait_s < first_s:
            first, first_s = entity, wait_s
    cores = state.counts_1[0].cores
    rate = 1.0 if cores == 0.0 else min(1.0, cores / max(busy, 1))
    next_s = min(limit_s, now_s + first_s / rate)
    if next_s < np.inf:
        for entity in range(front + 1):
            left_s = state.work_s_E[entity] - (next_s - now_s) * rate / _turns(state, entity)
            state.work_s_E[entity] = max(0.0, left_s)
    return first, next_s


@compiled
def _turns(state: SimulatorState, entity: int) -> float:
    """How many take turns where an entity computes; the front has its place alone."""
    if entity == len(state.replicas_W):
        return 1.0
    return float(max(1, state.busy_W[state.replicas_W[entity].device]))


@compiled
def _arrive(state: SimulatorState, r: int) -> None:
    """Take in a request; one whose prompt and limit do not fit a tier's memory is refused."""
    request = state.requests_R[r]
    for tier in range(request.tier, request.last_tier + 1):
        replica = state.replicas_W[state.tiers_T[tier].start]
        input_tokens = state.attempts_RT[r, tier].input_tokens
        if input_tokens + request.limit_tokens + 1 >= replica.capacity_tokens:
            request.status = TOO_LONG
            state.counts_1[0].settled += 1
            return
    _queue_at_front(state, r, RECEIVE)


@compiled
def _queue_at_front(state: SimulatorState, r: int, task: int) -> None:
    counts = state.counts_1[0]
    state.ring_R[(counts.front_head + counts.front) % len(state.ring_R)].front = r
    state.requests_R[r].front_task = task
    counts.front += 1


@compiled
def _front_work_s(state: SimulatorState) -> float:
    """How long the front works on the first of its queue."""
    counts = state.counts_1[0]
    request = state.requests_R[state.ring_R[counts.front_head].front]
    if request.front_task == RECEIVE:
        return float(counts.receive_s)
    if request.tier == request.last_tier:
        return float(counts.respond_s)
    return float(counts.escalate_s)


@compiled
def _finish_front(state: SimulatorState, now_s: float) -> None:
    """The front is done with the first of its queue: dispatch it, answer it or let it climb."""
    counts = state.counts_1[0]
    r = state.ring_R[counts.front_head].front
    request = state.requests_R[r]
    counts.front_head = (counts.front_head + 1) % len(state.ring_R)
    counts.front -= 1
    if request.front_task == RETURN:
        state.replicas_W[request.replica].load -= 1
        if request.tier == request.last_tier:
            request.finish_s = now_s
            request.status = DONE
            counts.settled += 1
            e2e_s = now_s - request.arrival_s
            counts.excess_left_s -= e2e_s - request.least_s
            if request.least_s <= counts.late_s < e2e_s:
                counts.late_left -= 1.0
            if counts.excess_left_s < 0.0 or counts.late_left < 0.0:
                counts.is_stopped = 1
            return
        request.tier += 1
    chosen = state.tiers_T[request.tier].start
    for w in range(chosen + 1, state.tiers_T[request.tier].end):
        if state.replicas_W[w].load < state.replicas_W[chosen].load:
            chosen = w
    attempt = state.attempts_RT[r, request.tier]
    attempt.dispatched_s = now_s
    state.replicas_W[chosen].load += 1
    request.replica = chosen
    request.input_tokens = attempt.input_tokens
    request.out_tokens = attempt.kept
    request.draft_tokens = attempt.taken_back
    request.in_flight = 0
    request.target_tokens = min(attempt.tokens, request.limit_tokens)
    request.finished = 0
    interrupt_stride(state, chosen, now_s)
    append_waiting(state, r, chosen)
    if state.replicas_W[chosen].running_slot < 0:
        _start_next(state, chosen, now_s)


@compiled
def _finish_step(state: SimulatorState, w: int, now_s: float) -> None:
    """A batch has run: see the results that are there now, and go on."""
    replica = state.replicas_W[w]
    if replica.stride_steps > 0:
        take_stride(state, w, replica.stride_steps)
    slot = replica.running_slot
    replica.running_slot = -1
    if replica.is_blocking == 1:
        _deliver(state, w, 1 - slot, now_s)
        _start_next(state, w, now_s)
    elif replica.held_slot >= 0:
        _start(state, w, replica.held_slot, now_s)
    else:
        _deliver(state, w, slot, now_s)
        _start_next(state, w, now_s)


@compiled
def _start_next(state: SimulatorState, w: int, now_s: float) -> None:
    """Schedule and start a batch; a pass without one sees the last results and tries again."""
    while True:
        last = state.replicas_W[w].slot
        if schedule(state, w) != NONE:
            _start(state, w, state.replicas_W[w].slot, now_s)
            return
        if state.slots_WS[w, last].rows == 0:
            return
        _deliver(state, w, last, now_s)


@compiled
def _start(state: SimulatorState, w: int, slot: int, now_s: float) -> None:
    replica = state.replicas_W[w]
    replica.running_slot = slot
    replica.held_slot = -1
    begin_work(state, w, now_s, state.slots_WS[w, slot].step_s)
    if replica.is_blocking == 0:
        _deliver(state, w, 1 - slot, now_s)
        if schedule(state, w) != NONE:
            replica.held_slot = replica.slot
    begin_stride(state, w, now_s)


@compiled
def _deliver(state: SimulatorState, w: int, slot: int, now_s: float) -> None:
    """See a batch's results and send the attempts that ended to the front."""
    counts = state.counts_1[0]
    for index in range(take_results(state, w, slot, now_s)):
        tail = (counts.wire_head + counts.wire) % len(state.ring_R)
        state.ring_R[tail].wire = state.ended_M[index]
        state.ring_R[tail].wire_s = now_s + counts.wire_delay_s
        counts.wire += 1
