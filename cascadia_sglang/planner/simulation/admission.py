"""Chooses the prompts that a replica prefills next, as SGLang's `PrefillAdder` does.

Budgets of a pass, as in 0.5.23: memory after what the running requests may still need
(`rem_total_tokens`, by the new-token ratio), memory at once (`cur_rem_tokens`), the chunk
(`rem_chunk_tokens`) and the input of a batch (`rem_input_tokens`).

Shape legend: as in `state`; r a request, w a replica.
"""

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.planner.simulation.compiled import compiled
from cascadia_sglang.planner.simulation.prefix_cache import (
    evict,
    lock_blocks,
    matched_blocks,
    newly_locked_tokens,
)
from cascadia_sglang.planner.simulation.state import (
    PREFILL_S,
    PREFILL_TOKENS,
    RUNNING,
    SimulatorState,
)

# SGLang's default of SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION.
CLIP_NEW_TOKENS = 4096
# Places of the budgets. The first two still hold what is locked.
TOTAL, CURRENT, CHUNK, INPUT = range(4)


@compiled
def admit(state: SimulatorState, w: int, slot: int) -> bool:
    """Fill a slot with a prefill batch; whether there is one."""
    replica = state.replicas_W[w]
    if replica.running == 0:
        replica.is_full = 0
    if replica.chunked < 0:
        if replica.is_full == 1 or replica.waiting == 0:
            return False
        if replica.running >= replica.max_running:
            replica.is_full = 1
            return False
    _set_budgets(state, w)
    budgets_4 = state.budgets_4
    if replica.chunked >= 0:
        _continue_chunk(state, w, slot)
    while replica.waiting > 0 and budgets_4[INPUT] > 0 and budgets_4[CHUNK] > 0:
        if state.slots_WS[w, slot].rows >= replica.max_running - replica.running:
            replica.is_full = 1
            break
        if not _admit_first(state, w, slot):
            break
    if state.slots_WS[w, slot].rows == 0:
        return False
    _start(state, w, slot)
    return True


@compiled
def append_waiting(state: SimulatorState, r: int, w: int) -> None:
    """Put a request at the end of a replica's waiting queue."""
    replica = state.replicas_W[w]
    state.requests_R[r].next_waiting = -1
    if replica.waiting == 0:
        replica.head = r
    else:
        state.requests_R[replica.tail].next_waiting = r
    replica.tail = r
    replica.waiting += 1


@compiled
def _set_budgets(state: SimulatorState, w: int) -> None:
    replica = state.replicas_W[w]
    needed = 0.0
    for row in range(replica.running):
        request = state.requests_R[state.rows_WBM[w, RUNNING, row]]
        needed += min(request.limit_tokens - request.out_tokens, CLIP_NEW_TOKENS)
    state.budgets_4[TOTAL] = replica.capacity_tokens - needed * replica.ratio
    state.budgets_4[CURRENT] = replica.capacity_tokens
    state.budgets_4[CHUNK] = replica.chunk_tokens if replica.chunk_tokens > 0 else np.inf
    state.budgets_4[INPUT] = replica.max_prefill_tokens


@compiled
def _continue_chunk(state: SimulatorState, w: int, slot: int) -> None:
    """Add the next chunk of the prompt that is under way; it must go on, whatever is left."""
    replica = state.replicas_W[w]
    r = replica.chunked
    request = state.requests_R[r]
    extend = request.input_tokens + request.out_tokens - request.prefilled_tokens
    room = min(state.budgets_4[CHUNK], state.budgets_4[TOTAL] - replica.locked_tokens)
    if room < 1.0:
        room = state.budgets_4[CHUNK]
    reserved = min(request.limit_tokens, CLIP_NEW_TOKENS)
    if extend > room:
        extend = int(room)
        reserved = 0
    else:
        replica.chunked = -1
    _add_row(state, w, slot, r, extend, reserved)


@compiled
def _admit_first(state: SimulatorState, w: int, slot: int) -> bool:
    """Admit the first of the waiting queue if it fits; whether the next may be tried."""
    replica = state.replicas_W[w]
    budgets_4 = state.budgets_4
    r = replica.head
    request = state.requests_R[r]
    blocks = matched_blocks(state, r, w)
    # What no block holds takes memory of the request's own, computed or not.
    cached = 0
    if request.blocks_start == request.blocks_end:
        cached = int(state.tiers_T[request.tier].cached_share * request.input_tokens)
        cached = min(cached, request.input_tokens - 1)
    hit = max(cached, min(blocks * replica.block_tokens, request.input_tokens - 1))
    extend = request.input_tokens + request.out_tokens - hit
    unwritten = max(request.limit_tokens - request.out_tokens, 0)
    free = budgets_4[TOTAL] - replica.locked_tokens - newly_locked_tokens(state, r, w, blocks)
    free -= cached
    rows = state.slots_WS[w, slot].rows
    if extend + min(unwritten, CLIP_NEW_TOKENS) + 1 >= free:
        replica.is_full = 1 if rows > 0 or replica.running > 0 else 0
        return False
    if replica.chunk_tokens == 0 and rows > 0 and extend >= budgets_4[INPUT]:
        return False
    reserved = min(request.limit_tokens, CLIP_NEW_TOKENS)
    if extend > budgets_4[CHUNK]:
        extend = int(budgets_4[CHUNK])
        reserved = 0
        replica.chunked = r
    replica.head = request.next_waiting
    replica.waiting -= 1
    lock_blocks(state, r, w, blocks)
    request.own_tokens += cached
    replica.locked_tokens += cached
    request.prefilled_tokens = hit
    replica.hit_tokens += hit
    _add_row(state, w, slot, r, extend, reserved)
    if min(budgets_4[TOTAL], budgets_4[CURRENT]) - replica.locked_tokens <= 0.0:
        replica.is_full = 1
        return False
    return True


@compiled
def _add_row(state: SimulatorState, w: int, slot: int, r: int, extend: int, reserved: int) -> None:
    """Add a prompt or its next chunk; `in_flight` holds its new tokens until `_start`."""
    state.rows_WBM[w, slot, state.slots_WS[w, slot].rows] = r
    state.slots_WS[w, slot].rows += 1
    state.requests_R[r].in_flight = extend
    state.budgets_4[TOTAL] -= extend + 1 + reserved
    state.budgets_4[CURRENT] -= extend + 1
    state.budgets_4[CHUNK] -= extend
    state.budgets_4[INPUT] -= extend


@compiled
def _start(state: SimulatorState, w: int, slot: int) -> None:
    """Take the memory of an admitted batch, and set its time."""
    replica, batch = state.replicas_W[w], state.slots_WS[w, slot]
    new_tokens = 0
    taken_back = 0  # computed to compare a draft, and freed before the next batch
    attended = 0.0
    for row in range(batch.rows):
        r = state.rows_WBM[w, slot, row]
        request = state.requests_R[r]
        new_tokens += request.in_flight
        attended += float(request.in_flight) * request.prefilled_tokens
        request.prefilled_tokens += request.in_flight
        request.own_tokens += request.in_flight
        request.in_flight = 0 if r == replica.chunked else 1
        if r != replica.chunked:
            taken_back += request.draft_tokens
            request.draft_tokens = 0
    replica.locked_tokens += new_tokens
    evict(state, w)
    batch.chunked = replica.chunked
    new_tokens += taken_back
    replica.prefill_tokens += new_tokens
    knots_JK = state.knots_WJK[w]
    seconds = interpolate(knots_JK[PREFILL_TOKENS], knots_JK[PREFILL_S], new_tokens)
    seconds += replica.prefill_row_s * (batch.rows - 1)
    batch.step_s = seconds + replica.prefill_context_s * attended


@compiled
def interpolate(sizes_K: FloatArray, seconds_K: FloatArray, size: int) -> float:
    """`profile.StepTimes`: linear between the knots, level below, in proportion above."""
    last = len(sizes_K) - 1
    if size >= sizes_K[last]:
        return float(seconds_K[last] * size / sizes_K[last])
    if size <= sizes_K[0]:
        return float(seconds_K[0])
    upper = 1
    while sizes_K[upper] < size:
        upper += 1
    low, high = sizes_K[upper - 1], sizes_K[upper]
    part = (size - low) / (high - low)
    return float(seconds_K[upper - 1] + part * (seconds_K[upper] - seconds_K[upper - 1]))
