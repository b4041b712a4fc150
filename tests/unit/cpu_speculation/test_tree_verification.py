"""Which nodes of draft trees are accepted, and which token follows."""

from collections import Counter

import pytest
import torch
from scipy import stats

from cascadia_sglang.cpu_speculation.tree_verification import verify_by_sampling, verify_greedily

# A tree of six nodes by parents: two children of the root, two of the first, one of the last.
PARENTS = [-1, 0, 0, 1, 1, 4]
TOKENS = [9, 1, 2, 3, 4, 5]


def links(parents: list[int], trees: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Index, first child and next sibling of the nodes of equal trees, [B, N]."""
    count = len(parents)
    nodes = range(count)
    children = [next((o for o in nodes if parents[o] == node), -1) for node in nodes]
    siblings = [
        next((o for o in nodes if o > node and parents[o] == parents[node] >= 0), -1)
        for node in nodes
    ]
    index = torch.arange(trees * count).view(trees, count)
    return index, torch.tensor([children] * trees), torch.tensor([siblings] * trees)


def outputs(trees: int, count: int, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.zeros(trees * count, dtype=torch.int32),
        torch.full((trees, most), -1, dtype=torch.int32),
        torch.zeros(trees, dtype=torch.int32),
    )


@pytest.mark.parametrize(
    ("predicted", "most", "path", "tokens"),
    [
        ([7, 0, 0, 0, 0, 0], 6, [0], [7]),
        ([2, 0, 8, 0, 0, 0], 6, [0, 2], [2, 8]),
        ([1, 4, 0, 0, 5, 6], 6, [0, 1, 4, 5], [1, 4, 5, 6]),
        ([1, 3, 0, 7, 0, 0], 6, [0, 1, 3], [1, 3, 7]),
        ([1, 4, 0, 0, 5, 6], 2, [0, 1], [1, 4]),
    ],
    ids=["none", "second", "deep", "first", "limit"],
)
def test_greedily_a_path_continues_while_the_models_own_token_is_a_child(
    predicted: list[int], most: int, path: list[int], tokens: list[int]
) -> None:
    """The second request of the batch accepts nothing, whatever the first one does."""
    predicts, accepted, counts = outputs(2, 6, most)
    index, child, sibling = links(PARENTS, 2)
    candidates = torch.tensor([TOKENS, TOKENS])
    target = torch.tensor([predicted, [8] * 6])
    verify_greedily(predicts, accepted, counts, candidates, index, child, sibling, target)
    padded = path + [-1] * (most - len(path))
    assert accepted.tolist() == [padded, [6] + [-1] * (most - 1)]
    assert counts.tolist() == [len(path) - 1, 0]
    assert predicts[accepted[0, : len(path)].long()].tolist() == tokens
    assert predicts[6] == 8


def sampled(
    probabilities: torch.Tensor, parents: list[int], tokens: list[int], trees: int, seed: int
) -> list[tuple[int, ...]]:
    """The accepted tokens and the one after them, of equal requests with coins of their own."""
    count = len(parents)
    generator = torch.Generator().manual_seed(seed)
    predicts, accepted, counts = outputs(trees, count, count)
    index, child, sibling = links(parents, trees)
    target = probabilities.expand(trees, *probabilities.shape).contiguous()
    verify_by_sampling(
        predicts,
        accepted,
        counts,
        torch.tensor([tokens] * trees),
        index,
        child,
        sibling,
        torch.rand(trees, count, generator=generator),
        torch.rand(trees, generator=generator),
        target,
        torch.zeros_like(target),
    )
    return [tuple(predicts[row[row >= 0].long()].tolist()) for row in accepted]


def test_every_token_has_the_models_distribution_whatever_was_drafted() -> None:
    """Chi-square of the first tokens, and of the second ones behind an accepted draft."""
    generator = torch.Generator().manual_seed(3)
    probabilities = (2.0 * torch.randn(6, 8, generator=generator)).softmax(dim=-1)
    tokens = [7, 1, 2, 3, 4, 5]
    trees = 8000
    runs = sampled(probabilities, PARENTS, tokens, trees, seed=11)
    first = Counter(run[0] for run in runs)
    expected = probabilities[0].double() * trees
    observed = [first[token] for token in range(8)]
    assert stats.chisquare(observed, (expected / expected.sum() * trees).tolist()).pvalue > 0.01
    # Behind the first child the model's row is that of node 1.
    second = Counter(run[1] for run in runs if run[0] == 1)
    total = second.total()
    assert total > 300
    model_V = probabilities[1].double()
    observed = [second[token] for token in range(8)]
    assert stats.chisquare(observed, (model_V / model_V.sum() * total).tolist()).pvalue > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_token_without_probability_is_neither_accepted_nor_drawn(seed: int) -> None:
    probabilities = torch.zeros(6, 8)
    probabilities[:, [2, 6]] = 0.5
    runs = sampled(probabilities, PARENTS, TOKENS, 200, seed)
    assert {token for run in runs for token in run} == {2, 6}
    assert {run[0] for run in runs} == {2, 6}


def test_drafts_that_hold_all_of_the_distribution_are_accepted() -> None:
    """The last child's probability ends the distribution: rounding must not fall behind it."""
    probabilities = torch.zeros(3, 4)
    probabilities[:, 0], probabilities[:, 1] = 0.3, 0.7
    runs = sampled(probabilities, [-1, 0, 0], [3, 0, 1], 500, seed=0)
    assert {run[0] for run in runs} == {0, 1}
    assert all(len(run) == 2 for run in runs)
