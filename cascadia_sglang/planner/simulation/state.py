"""The simulator's state: arrays of records, grouped by owner.

Few arrays, because a compiled function is given every array of its arguments anew at each call.

Shape legend: R requests, T tiers, W replicas, E the replicas and, last, the front, S the two
batches under way, B those and the running requests, M rows of a batch at most, N distinct prefix
blocks and an anchor, P prefix blocks of all requests together, J the columns of step-time tables,
K their knots.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray, IntArray

Records = npt.NDArray[np.void]

# Kinds of a batch.
NONE, PREFILL, DECODE = 0, 1, 2
# What became of a request.
UNSETTLED, DONE, TOO_LONG, OUT_OF_MEMORY = 0, 1, 2, 3
# What the front does with a request next.
RECEIVE, RETURN = 0, 1
# Columns of the step-time tables.
DECODE_ROWS, DECODE_S, PREFILL_TOKENS, PREFILL_S = range(4)
# Which rows: those of the two batches under way, then the running requests.
RUNNING = 2

REQUEST = np.dtype(
    [
        ("arrival_s", "f8"),
        ("finish_s", "f8"),
        ("least_s", "f8"),  # no run answers it sooner
        ("input_tokens", "i8"),  # of the prompt, as its tier counts them
        ("limit_tokens", "i8"),  # `max_new_tokens`, which admission reserves for
        ("last_tier", "i8"),
        ("blocks_start", "i8"),  # its prefix blocks are blocks_P[start:end]
        ("blocks_end", "i8"),
        ("status", "i8"),
        ("tier", "i8"),  # of its attempt; there is at most one at a time
        ("replica", "i8"),
        ("target_tokens", "i8"),
        ("out_tokens", "i8"),  # whose results are known
        ("in_flight", "i8"),  # tokens under way
        ("finished", "i8"),
        ("prefilled_tokens", "i8"),  # of the prompt, with KV, cached ones included
        ("draft_tokens", "i8"),  # to prefill once more than it keeps
        ("own_tokens", "i8"),  # with KV that no prefix block holds
        ("locked_blocks", "i8"),
        ("next_waiting", "i8"),
        ("front_task", "i8"),
    ]
)
ATTEMPT = np.dtype(
    [
        ("input_tokens", "i8"),
        ("tokens", "i8"),
        ("kept", "i8"),  # of them, from the draft that it read
        ("taken_back", "i8"),  # of that draft
        ("dispatched_s", "f8"),
        ("first_s", "f8"),
        ("done_s", "f8"),
    ]
)
REPLICA = np.dtype(
    [
        ("capacity_tokens", "i8"),
        ("block_tokens", "i8"),  # of a prefix block
        ("max_running", "i8"),
        ("chunk_tokens", "i8"),  # 0 for no chunked prefill
        ("max_prefill_tokens", "i8"),
        ("is_blocking", "i8"),
        ("device", "i8"),  # whose busy replicas take turns on it
        ("ratio_min", "f8"),
        ("ratio_decay", "f8"),
        ("decode_context_s", "f8"),
        ("prefill_row_s", "f8"),
        ("prefill_context_s", "f8"),
        ("ratio", "f8"),
        ("head", "i8"),  # of the waiting queue
        ("tail", "i8"),
        ("waiting", "i8"),
        ("running", "i8"),
        ("slot", "i8"),  # the batch last scheduled
        ("running_slot", "i8"),  # the batch that runs, -1 for none
        ("held_slot", "i8"),  # the batch that runs next, -1 for none
        ("chunked", "i8"),  # the request whose prompt is under way, -1 for none
        ("is_full", "i8"),
        ("locked_tokens", "i8"),  # KV that cannot be evicted
        ("cached_tokens", "i8"),  # KV of unlocked prefix blocks
        ("load", "i8"),  # attempts it was given and the front has not seen end
        # A stride: decoding steps that are one event. The step that runs and the one that is held
        # are followed by steps of `stride_step_s`, each longer than the last by `stride_growth_s`.
        ("stride_steps", "i8"),  # ends of steps before the event, 0 for no stride
        ("stride_first_s", "f8"),  # left of the step that runs, at the stride's start
        ("stride_held_s", "f8"),
        ("stride_step_s", "f8"),
        ("stride_growth_s", "f8"),
        ("busy_s", "f8"),
        ("steps", "i8"),
        ("row_steps", "i8"),
        ("prefill_tokens", "i8"),
        ("hit_tokens", "i8"),
        ("retracted", "i8"),
    ]
)
SLOT = np.dtype([("rows", "i8"), ("kind", "i8"), ("chunked", "i8"), ("step_s", "f8")])
BLOCK = np.dtype([("locks", "i4"), ("is_cached", "i4"), ("older", "i4"), ("newer", "i4")])
RING = np.dtype([("front", "i8"), ("wire", "i8"), ("wire_s", "f8")])
COUNTS = np.dtype(
    [
        ("settled", "i8"),
        ("front_head", "i8"),
        ("front", "i8"),
        ("wire_head", "i8"),
        ("wire", "i8"),
        # The machine: constants of a run.
        ("cores", "f8"),  # that replicas and front share; 0 where each has a device of its own
        ("receive_s", "f8"),
        ("respond_s", "f8"),
        ("escalate_s", "f8"),
        ("wire_delay_s", "f8"),
        ("is_independent", "i8"),  # every replica has a device of its own, and nobody shares cores
        ("has_strides", "i8"),
        # A run that exceeds one of these stops: it is worse than another that is known.
        ("excess_left_s", "f8"),  # of all requests together, above their `least_s`
        ("late_s", "f8"),  # a request that takes longer is late
        ("late_left", "f8"),  # below 0 even before the first event, if enough must be late
        ("is_stopped", "i8"),
    ]
)
TIER = np.dtype(
    [
        ("start", "i8"),
        ("end", "i8"),
        ("cached_share", "f8"),  # of a prompt without blocks
        ("late_s", "f8"),  # an attempt that takes longer is late
        ("late_left", "f8"),
    ]
)


# What the arrays of a state hold, and their axes.
ARRAYS: dict[str, tuple[npt.DTypeLike, int]] = {
    "requests_R": (REQUEST, 1),
    "attempts_RT": (ATTEMPT, 2),
    "tiers_T": (TIER, 1),
    "replicas_W": (REPLICA, 1),
    "slots_WS": (SLOT, 2),
    "rows_WBM": (np.int64, 3),
    "knots_WJK": (np.float64, 3),
    "blocks_P": (np.int64, 1),
    "cache_WN": (BLOCK, 2),
    "work_s_E": (np.float64, 1),
    "busy_W": (np.int64, 1),
    "ring_R": (RING, 1),
    "ended_M": (np.int64, 1),
    "budgets_4": (np.float64, 1),
    "counts_1": (COUNTS, 1),
}


class SimulatorState(NamedTuple):
    """A load, replicas, and all that changes as time goes on."""

    requests_R: Records
    attempts_RT: Records
    tiers_T: Records  # its replicas are [start, end)
    replicas_W: Records
    slots_WS: Records
    rows_WBM: IntArray
    knots_WJK: FloatArray
    blocks_P: IntArray
    cache_WN: Records  # an LRU list of unlocked blocks through the anchor
    # Left to do, infinite for the idle. Where all are independent: the time when it is done.
    work_s_E: FloatArray
    busy_W: IntArray  # replicas that compute on each device
    ring_R: Records
    ended_M: IntArray
    budgets_4: FloatArray
    counts_1: Records


def new_state(
    requests_R: Records,
    attempts_RT: Records,
    tiers_T: Records,
    replicas_W: Records,
    knots_WJK: FloatArray,
    blocks_P: IntArray,
    counts_1: Records,
) -> SimulatorState:
    """Nothing has arrived and all caches are cold. The arguments become the state's own."""
    R, W = len(requests_R), len(replicas_W)
    M = int(replicas_W["max_running"].max())
    N = int(blocks_P.max()) + 2 if len(blocks_P) else 1
    slots_WS = np.zeros((W, 2), SLOT)
    slots_WS["chunked"] = -1
    cache_WN = np.zeros((W, N), BLOCK)
    # Blocks that nobody caches are left untouched: most of a large array is never written.
    cache_WN["older"][:, -1] = cache_WN["newer"][:, -1] = N - 1
    for name in ("running_slot", "held_slot", "chunked", "head", "tail"):
        replicas_W[name] = -1
    for name in ("dispatched_s", "first_s", "done_s"):
        attempts_RT[name] = np.nan
    requests_R["finish_s"] = np.nan
    requests_R["replica"] = requests_R["next_waiting"] = -1
    return SimulatorState(
        requests_R=requests_R,
        attempts_RT=attempts_RT,
        tiers_T=tiers_T,
        replicas_W=replicas_W,
        slots_WS=slots_WS,
        rows_WBM=np.zeros((W, 3, M), np.int64),
        knots_WJK=knots_WJK,
        blocks_P=blocks_P,
        cache_WN=cache_WN,
        work_s_E=np.full(W + 1, np.inf),
        busy_W=np.zeros(W, np.int64),
        ring_R=np.zeros(R, RING),
        ended_M=np.zeros(M, np.int64),
        budgets_4=np.zeros(4),
        counts_1=counts_1,
    )
