"""Where the best logit of a range of columns stands, and the second best, from the lanes' peaks."""

import triton
import triton.language as tl


@triton.jit
def two_best(
    peak,
    range_peak,
    finite,
    row_ptr,
    stride_v,
    first,
    end,
    RANGE: tl.constexpr,
    LANES: tl.constexpr,
):
    """The first column with the range's peak, the largest other logit, the number of finite ones.

    Mostly one lane has the peak: the second best logit is another lane's peak or in this lane,
    whose columns (32 of 16,384 in float32) are read again, from the cache. Where several lanes have
    it, the second best equals it, and the range is read again up to the first column that has it.
    """
    lane = tl.arange(0, LANES)
    is_best_lane = peak == range_peak
    # One reduction of three sums, all exact.
    spare = tl.zeros([LANES], tl.float32)
    lanes = tl.join(is_best_lane.to(tl.float32), tl.where(is_best_lane, lane, 0).to(tl.float32))
    sums = tl.sum(tl.join(lanes, tl.join(finite.to(tl.float32), spare)), axis=0)
    which = tl.arange(0, 2)
    is_first, is_left = which[:, None] == 0, which[None, :] == 0
    best_lanes = tl.sum(tl.sum(tl.where(is_first & is_left, sums, 0.0), axis=0), axis=0)
    best_lane = tl.sum(tl.sum(tl.where(~is_first & is_left, sums, 0.0), axis=0), axis=0)
    finite_sum = tl.sum(tl.sum(tl.where(is_first & ~is_left, sums, 0.0), axis=0), axis=0)
    if best_lanes == 1.0:
        depth = tl.arange(0, RANGE // LANES)
        column = first + depth * LANES + best_lane.to(tl.int32)
        x = tl.load(
            row_ptr + column.to(tl.int64) * stride_v, mask=column < end, other=float("-inf")
        ).to(tl.float32)
        best = tl.min(tl.where(x == range_peak, column, end), axis=0)
        in_lane = tl.max(tl.where(column == best, float("-inf"), x), axis=0)
        elsewhere = tl.max(tl.where(is_best_lane, float("-inf"), peak), axis=0)
        second = tl.maximum(in_lane, elsewhere)
    else:
        best = end
        second = range_peak
        start = first
        while (start < end) & (best == end):
            column = start + lane
            x = tl.load(
                row_ptr + column.to(tl.int64) * stride_v, mask=column < end, other=float("nan")
            ).to(tl.float32)
            best = tl.min(tl.where(x == range_peak, column, end), axis=0)
            start += LANES
    # A range of NaN alone has no column that equals its peak.
    return tl.minimum(best, end - 1), second, finite_sum
