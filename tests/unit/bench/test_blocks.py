"""Rounds of two sides in blocks."""

import itertools

import pytest

from bench.harness.blocks import measure_blocks, throughputs
from bench.harness.client import Reply, Round


def test_both_sides_have_new_requests_equally_often_and_a_drift_cancels() -> None:
    sides: list[bool] = []
    batches = itertools.count()
    sent: list[list[bytes]] = []

    def send(is_after: bool, requests: list[bytes]) -> Round:
        sides.append(is_after)
        sent.append(requests)
        # The machine gets slower by a second with every round; after takes twice as long.
        seconds = (10.0 + len(sides)) * (2 if is_after else 1)
        reply = Reply(seconds=seconds, first_byte_s=seconds, raw=b"")
        return Round(replies=[reply] * 4, seconds=seconds)

    blocks = measure_blocks(lambda: [b"%d" % next(batches)], send, 2)
    assert sides == [False, True, True, False, True, False, False, True]
    assert sent == [[b"0"]] * 4 + [[b"1"]] * 4
    before, after, ratio = throughputs(blocks)
    assert (before.n, after.n) == (2, 2)
    assert ratio.p50 == pytest.approx(0.5)
