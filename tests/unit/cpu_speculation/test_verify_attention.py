"""Attention of draft trees, against causal attention along each path."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cascadia_sglang.cpu_speculation.verify_attention import tree_attention

HEADS, KEY_HEADS, SIZE = 4, 2, 8
PARENTS = [-1, 0, 0, 1, 3]


def path_to(node: int) -> list[int]:
    path = [node]
    while PARENTS[path[0]] >= 0:
        path.insert(0, PARENTS[path[0]])
    return path


def causal(query_HD: torch.Tensor, keys_KGD: torch.Tensor, values_KGD: torch.Tensor) -> Any:
    """Of one query that sees all keys, in float64."""
    out = []
    for head in range(HEADS):
        group = head * KEY_HEADS // HEADS
        keys, values = keys_KGD[:, group].double(), values_KGD[:, group].double()
        weights = (keys @ query_HD[head].double() / SIZE**0.5).softmax(dim=0)
        out.append(weights @ values)
    return torch.stack(out).flatten().float()


@pytest.mark.parametrize("window", [None, 3], ids=["all", "window"])
def test_a_node_attends_to_its_request_and_its_ancestors(window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    nodes, lengths = len(PARENTS), [6, 3]
    keys = torch.randn(40, KEY_HEADS, SIZE, generator=generator)
    values = torch.randn(40, KEY_HEADS, SIZE, generator=generator)
    query = torch.randn(2 * nodes, HEADS * SIZE, generator=generator)
    req_to_token = torch.randperm(40, generator=generator)[: 2 * 14].view(2, 14)
    masks, positions = [], []
    for length in lengths:
        tree = torch.zeros(nodes, nodes, dtype=torch.bool)
        for node in range(nodes):
            tree[node, path_to(node)] = True
            positions.append(length + len(path_to(node)) - 1)
        masks.append(torch.cat((torch.ones(nodes, length, dtype=torch.bool), tree), dim=1))
    verify_input = SimpleNamespace(
        draft_token_num=nodes,
        custom_mask=torch.cat([mask.flatten() for mask in masks]),
        positions=torch.tensor(positions),
    )
    backend: Any = SimpleNamespace(
        token_to_kv_pool=SimpleNamespace(
            get_key_buffer=lambda _: keys, get_value_buffer=lambda _: values
        ),
        req_to_token_pool=SimpleNamespace(req_to_token=req_to_token),
    )
    layer: Any = SimpleNamespace(
        layer_id=0,
        tp_q_head_num=HEADS,
        tp_k_head_num=KEY_HEADS,
        qk_head_dim=SIZE,
        v_head_dim=SIZE,
        scaling=SIZE**-0.5,
        sliding_window_size=-1 if window is None else window,
    )
    batch: Any = SimpleNamespace(
        spec_info=verify_input,
        req_pool_indices=torch.tensor([1, 0]),
        seq_lens=torch.tensor(lengths),
    )
    attended = tree_attention(backend, query, layer, batch)
    for request, (row, length) in enumerate(zip((1, 0), lengths, strict=True)):
        for node in range(nodes):
            seen = [*range(length), *(length + other for other in path_to(node))]
            if window is not None:
                seen = seen[-window - 1 :]
            slots = req_to_token[row, seen]
            at = request * nodes + node
            expected = causal(query[at].view(HEADS, SIZE), keys[slots], values[slots])
            torch.testing.assert_close(attended[at], expected, atol=1e-5, rtol=1e-5)
