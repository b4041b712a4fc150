"""Slots of the KV cache for draft trees."""

from typing import Any

import torch

from cascadia_sglang.cpu_speculation.cache_slots import assign_slots, move_accepted, slots_of


def test_slots_that_are_assigned_are_found_again() -> None:
    req_to_token = torch.zeros(4, 10, dtype=torch.int32)
    rows, starts, ends = torch.tensor([2, 0]), torch.tensor([3, 1]), torch.tensor([6, 4])
    slots = torch.tensor([20, 21, 22, 30, 31, 32])
    assign_slots(rows, req_to_token, starts, ends, slots)
    assert req_to_token[2].tolist() == [0, 0, 0, 20, 21, 22, 0, 0, 0, 0]
    assert req_to_token[0].tolist() == [0, 30, 31, 32, 0, 0, 0, 0, 0, 0]
    assert int(req_to_token[[1, 3]].sum()) == 0
    assigned = slots_of(rows, req_to_token, starts, ends, 2, 3, "cpu")
    assert (assigned.dtype, assigned.tolist()) == (torch.int64, slots.tolist())


class SlotCache:
    """A KV cache of one number a slot."""

    def __init__(self, slots: int) -> None:
        self.held = torch.arange(slots)

    def move_kv_cache(self, tgt_loc: torch.Tensor, src_loc: torch.Tensor) -> None:
        self.held[tgt_loc] = self.held[src_loc]


def test_what_accepted_nodes_hold_moves_to_the_front_of_their_request() -> None:
    cache: Any = SlotCache(20)
    slots = torch.tensor([4, 5, 6, 7, 12, 13, 14, 15])
    accepted = torch.tensor([[0, 2, 3, -1], [4, -1, -1, -1]], dtype=torch.int32)
    move_accepted(slots, accepted, torch.tensor([2, 0]), cache)
    assert cache.held[[4, 5, 6, 7]].tolist() == [4, 6, 7, 7]
    assert cache.held[12:16].tolist() == [12, 13, 14, 15]
