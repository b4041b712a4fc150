"""The links of a draft tree from its mask of ancestors."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.cpu_speculation.tree_links import tree_links


@st.composite
def forests(draw: st.DrawFn) -> list[list[int]]:
    """Parents of the nodes of some trees of one size; -1 for the root, which comes first."""
    nodes = draw(st.integers(1, 9))
    later = [st.integers(0, node - 1) for node in range(1, nodes)]
    return draw(st.lists(st.tuples(st.just(-1), *later).map(list), min_size=1, max_size=3))


def ancestors(parents: list[int], node: int) -> list[int]:
    path = []
    while parents[node] >= 0:
        node = parents[node]
        path.append(node)
    return path


def mask_of(forest: list[list[int]]) -> torch.Tensor:
    """As SGLang's corpus says it: every node sees itself and its ancestors."""
    count = len(forest[0])
    mask = torch.zeros(len(forest), count, count, dtype=torch.bool)
    for tree, parents in enumerate(forest):
        for node in range(count):
            mask[tree, node, [node, *ancestors(parents, node)]] = True
    return mask.flatten()


@given(forests())
def test_the_links_are_those_of_the_trees(forest: list[list[int]]) -> None:
    trees, count = len(forest), len(forest[0])
    lengths = [7 * tree + 1 for tree in range(trees)]
    positions = torch.full((trees * count,), -9)
    index, child, sibling = (torch.full((trees, count), -9) for _ in range(3))
    tree_links(
        mask_of(forest), torch.tensor(lengths), positions, index, child, sibling, trees, count
    )
    assert index.flatten().tolist() == list(range(trees * count))
    for tree, parents in enumerate(forest):
        for node in range(count):
            depth = len(ancestors(parents, node))
            assert positions[tree * count + node] == lengths[tree] + depth
            children = [other for other in range(count) if parents[other] == node]
            assert child[tree, node] == (children[0] if children else -1)
            later = [o for o in range(node + 1, count) if parents[o] == parents[node] >= 0]
            assert sibling[tree, node] == (later[0] if later else -1)
