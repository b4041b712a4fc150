"""A replica's prefix cache: blocks of tokens that requests lock, the rest LRU.

Equal block ids are equal prefixes up to and including the block, as in the Mooncake traces; this
stands for SGLang's radix tree at the resolution of the blocks. A request locks what it matched when
it is admitted, and its whole blocks once its prompt is computed; what nobody locks is evicted, the
least recently used first. Output tokens and the prompt's last, partial block are freed at the end:
no trace tells who would reuse them.

Shape legend: as in `state`; r a request, w a replica.
"""

from cascadia_sglang.planner.simulation.compiled import compiled
from cascadia_sglang.planner.simulation.state import SimulatorState


@compiled
def matched_blocks(state: SimulatorState, r: int, w: int) -> int:
    """Number of leading blocks of a request that the replica's cache holds."""
    request = state.requests_R[r]
    count = 0
    for index in range(request.blocks_start, request.blocks_end):
        if state.cache_WN[w, state.blocks_P[index]].is_cached == 0:
            break
        count += 1
    return count


@compiled
def newly_locked_tokens(state: SimulatorState, r: int, w: int, blocks: int) -> int:
    """Tokens that locking these leading blocks takes out of what can be evicted."""
    start = state.requests_R[r].blocks_start
    count = 0
    for index in range(start, start + blocks):
        if state.cache_WN[w, state.blocks_P[index]].locks == 0:
            count += 1
    return int(count * state.replicas_W[w].block_tokens)


@compiled
def lock_blocks(state: SimulatorState, r: int, w: int, blocks: int) -> None:
    """Lock a request's leading blocks, all of them cached."""
    start = state.requests_R[r].blocks_start
    for index in range(start, start + blocks):
        block = state.cache_WN[w, state.blocks_P[index]]
        if block.locks == 0:
            _unlink(state, w, state.blocks_P[index])
            state.replicas_W[w].locked_tokens += state.replicas_W[w].block_tokens
        block.locks += 1
    state.requests_R[r].locked_blocks = blocks


@compiled
def insert_blocks(state: SimulatorState, r: int, w: int) -> None:
    """Put the whole blocks of a computed prompt into the cache, locked; copies are freed."""
    request, replica = state.requests_R[r], state.replicas_W[w]
    size = replica.block_tokens
    whole = min(request.blocks_end - request.blocks_start, request.input_tokens // size)
    for index in range(request.locked_blocks, whole):
        number = state.blocks_P[request.blocks_start + index]
        block = state.cache_WN[w, number]
        request.own_tokens -= size
        if block.is_cached == 0:
            block.is_cached = 1
        elif block.locks == 0:
            _unlink(state, w, number)
        else:
            replica.locked_tokens -= size
        block.locks += 1
    request.locked_blocks = max(request.locked_blocks, whole)


@compiled
def release(state: SimulatorState, r: int, w: int) -> None:
    """Free a request's own tokens and unlock its blocks; the deepest becomes the oldest."""
    request, replica = state.requests_R[r], state.replicas_W[w]
    for index in range(request.locked_blocks - 1, -1, -1):
        number = state.blocks_P[request.blocks_start + index]
        block = state.cache_WN[w, number]
        block.locks -= 1
        if block.locks == 0:
            _link(state, w, number)
            replica.locked_tokens -= replica.block_tokens
    request.locked_blocks = 0
    replica.locked_tokens -= request.own_tokens
    request.own_tokens = 0


@compiled
def evict(state: SimulatorState, w: int) -> None:
    """Drop the least recently used blocks until everything fits."""
    replica = state.replicas_W[w]
    anchor = state.cache_WN.shape[1] - 1
    while replica.locked_tokens + replica.cached_tokens > replica.capacity_tokens:
        number = state.cache_WN[w, anchor].newer
        if number == anchor:
            return
        _unlink(state, w, number)
        state.cache_WN[w, number].is_cached = 0


@compiled
def _link(state: SimulatorState, w: int, number: int) -> None:
    """Make an unlocked block the most recently used one."""
    anchor = state.cache_WN.shape[1] - 1
    newest = state.cache_WN[w, anchor].older
    state.cache_WN[w, newest].newer = number
    state.cache_WN[w, number].older = newest
    state.cache_WN[w, number].newer = anchor
    state.cache_WN[w, anchor].older = number
    state.replicas_W[w].cached_tokens += state.replicas_W[w].block_tokens


@compiled
def _unlink(state: SimulatorState, w: int, number: int) -> None:
    """Take a block out of those that can be evicted."""
    block = state.cache_WN[w, number]
    state.cache_WN[w, block.older].newer = block.newer
    state.cache_WN[w, block.newer].older = block.older
    state.replicas_W[w].cached_tokens -= state.replicas_W[w].block_tokens
