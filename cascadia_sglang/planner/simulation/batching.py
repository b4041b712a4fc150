"""The next batch of a replica, as SGLang's scheduler chooses it (`srt/managers/scheduler.py`).

One pass of its overlapped loop, `get_next_batch_to_run` of 0.5.23 under the first-come policy: the
last prefill joins the running requests, what is known to have finished leaves, a prefill runs if
one can be admitted, else everything running decodes one token, after `retract_decode` where memory
lacks. The results of a batch are known only after the next one was scheduled, so an answer that
ends by itself takes part in one step more; one that ends at its limit does not.

Under speculative decoding a step gives several tokens at once; here it counts as so many steps of
a part of its time each, which is right in the mean.

Not modelled: pages of more than one token, sliding windows, priorities, mixed chunks, LoRA, the
cache-aware orders of the waiting queue.

Shape legend: as in `state`; r a request, w a replica.
"""

import numpy as np

from cascadia_sglang.planner.simulation.admission import admit, append_waiting, interpolate
from cascadia_sglang.planner.simulation.compiled import compiled
from cascadia_sglang.planner.simulation.prefix_cache import evict, insert_blocks, release
from cascadia_sglang.planner.simulation.state import (
    DECODE,
    DECODE_ROWS,
    DECODE_S,
    NONE,
    OUT_OF_MEMORY,
    PREFILL,
    RUNNING,
    SimulatorState,
)

# SGLang's default of SGLANG_RETRACT_DECODE_STEPS.
RETRACT_STEPS = 20


@compiled
def schedule(state: SimulatorState, w: int) -> int:
    """Fill the replica's other slot with its next batch; the kind of it, NONE where it idles."""
    replica = state.replicas_W[w]
    last = replica.slot
    slot = 1 - last
    batch = state.slots_WS[w, slot]
    replica.slot = slot
    batch.rows = 0
    batch.chunked = -1
    _join_prefilled(state, w, last)
    kind = NONE
    if admit(state, w, slot):
        kind = PREFILL
    elif _decode(state, w, slot):
        kind = DECODE
    batch.kind = kind
    if kind != NONE:
        replica.steps += 1
        replica.row_steps += batch.rows
        replica.busy_s += batch.step_s
    return kind


@compiled
def take_results(state: SimulatorState, w: int, slot: int, now_s: float) -> int:
    """Learn a batch's tokens; requests that ended are written to `ended_M`, their number returned.

    The slot is empty afterwards.
    """
    ended = 0
    batch = state.slots_WS[w, slot]
    for row in range(batch.rows):
        r = state.rows_WBM[w, slot, row]
        request = state.requests_R[r]
        # Nothing under way: a chunk in the middle, an answer that has ended, a retracted request.
        if request.in_flight == 0 or _has_left(state, r, w) or r == batch.chunked:
            continue
        request.in_flight -= 1
        if batch.kind == PREFILL:
            insert_blocks(state, r, w)
        if np.isnan(state.attempts_RT[r, request.tier].first_s):
            state.attempts_RT[r, request.tier].first_s = now_s
        request.out_tokens += 1
        if request.out_tokens >= request.target_tokens:
            request.finished = 1
            attempt = state.attempts_RT[r, request.tier]
            attempt.done_s = now_s
            tier = state.tiers_T[request.tier]
            if now_s - attempt.dispatched_s > tier.late_s:
                tier.late_left -= 1.0
                if tier.late_left < 0.0:
                    state.counts_1[0].is_stopped = 1
            release(state, r, w)
            state.ended_M[ended] = r
            ended += 1
    batch.rows = 0
    return ended


@compiled
def _has_left(state: SimulatorState, r: int, w: int) -> bool:
    """Whether a request's attempt here is known to have ended; it may run elsewhere by now."""
    request = state.requests_R[r]
    return bool(request.finished == 1 or request.replica != w)


@compiled
def _join_prefilled(state: SimulatorState, w: int, last: int) -> None:
    """Move the last prefill's requests to the running ones, and let the finished leave."""
    replica, batch = state.replicas_W[w], state.slots_WS[w, last]
    if batch.kind == PREFILL:
        for row in range(batch.rows):
            r = state.rows_WBM[w, last, row]
            if r == batch.chunked or _has_left(state, r, w):
                replica.is_full = 0
            else:
                state.rows_WBM[w, RUNNING, replica.running] = r
                replica.running += 1
    remaining = 0
    for row in range(replica.running):
        r = state.rows_WBM[w, RUNNING, row]
        if not _has_left(state, r, w):
            state.rows_WBM[w, RUNNING, remaining] = r
            remaining += 1
    if remaining < replica.running:
        replica.is_full = 0
    replica.running = remaining


@compiled
def _decode(state: SimulatorState, w: int, slot: int) -> bool:
    """Fill a slot with one token of everything that runs, after making room; whether it did."""
    replica, batch = state.replicas_W[w], state.slots_WS[w, slot]
    before = replica.running
    remaining = 0
    for row in range(before):
        r = state.rows_WBM[w, RUNNING, row]
        request = state.requests_R[r]
        if request.out_tokens + request.in_flight < request.limit_tokens:
            state.rows_WBM[w, RUNNING, remaining] = r
            remaining += 1
    replica.running = remaining
    if remaining < before:
        replica.is_full = 0
    if remaining == 0:
        return False
    if replica.locked_tokens + remaining > replica.capacity_tokens:
        if remaining < before:
            # The result under way frees memory at the end of this step.
            return False
        _retract(state, w)
        replica.is_full = 0
    else:
        replica.ratio = max(replica.ratio - replica.ratio_decay, replica.ratio_min)
    context = 0
    for row in range(replica.running):
        r = state.rows_WBM[w, RUNNING, row]
        request = state.requests_R[r]
        state.rows_WBM[w, slot, row] = r
        context += request.input_tokens + request.out_tokens + request.in_flight
        request.own_tokens += 1
        request.in_flight += 1
    batch.rows = replica.running
    replica.locked_tokens += batch.rows
    evict(state, w)
    knots_JK = state.knots_WJK[w]
    seconds = interpolate(knots_JK[DECODE_ROWS], knots_JK[DECODE_S], batch.rows)
    batch.step_s = seconds + replica.decode_context_s * context
    return bool(batch.rows > 0)


@compiled
def _retract(state: SimulatorState, w: int) -> None:
    """Send those with the fewest tokens, then the longest prompts, back until the rest fits."""
    replica = state.replicas_W[w]
    retracted = 0
    while replica.running > 1 and (
        retracted == 0 or replica.locked_tokens + replica.running > replica.capacity_tokens
    ):
        worst = 0
        for row in range(1, replica.running):
            candidate = state.requests_R[state.rows_WBM[w, RUNNING, row]]
            other = state.requests_R[state.rows_WBM[w, RUNNING, worst]]
            if candidate.out_tokens < other.out_tokens or (
                candidate.out_tokens == other.out_tokens
                and candidate.input_tokens >= other.input_tokens
            ):
                worst = row
        append_waiting(state, _leave(state, w, worst), w)
        retracted += 1
    replica.retracted += retracted
    if replica.locked_tokens + replica.running > replica.capacity_tokens:
        request = state.requests_R[_leave(state, w, 0)]
        request.finished = 1
        request.status = OUT_OF_MEMORY
        state.counts_1[0].settled += 1
        replica.load -= 1
    generated = 0
    limits = 0
    for row in range(replica.running):
        request = state.requests_R[state.rows_WBM[w, RUNNING, row]]
        generated += request.out_tokens
        limits += request.limit_tokens
    replica.ratio = min(1.0, (generated + RETRACT_STEPS * replica.running) / (limits + 1))


@compiled
def _leave(state: SimulatorState, w: int, row: int) -> int:
    """Take a row out of the running ones, its memory and what is under way with it; its request."""
    replica = state.replicas_W[w]
    r = state.rows_WBM[w, RUNNING, row]
    for later in range(row, replica.running - 1):
        state.rows_WBM[w, RUNNING, later] = state.rows_WBM[w, RUNNING, later + 1]
    replica.running -= 1
    release(state, r, w)
    state.requests_R[r].prefilled_tokens = 0
    state.requests_R[r].in_flight = 0
    return int(r)
