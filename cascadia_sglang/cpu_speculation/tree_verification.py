"""Which nodes of a draft tree the model accepts, greedily or by sampling.

A tree's root is the last token of its request. The model's row at a node is what it says after
that node. A walk begins at the root, and continues to a child as long as the model's own token
is one.

Shape legend: B requests, N nodes of a request's tree, D most nodes of an accepted path (with its
root), V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class _Tree:
    """One request's draft tree.

    Attributes:
        tokens: of the nodes.
        first_child: of each node; -1 for none.
        next_sibling: of each node; -1 for none.
    """

    tokens: list[int]
    first_child: list[int]
    next_sibling: list[int]

    def children(self, node: int) -> Iterator[int]:
        child = self.first_child[node]
        while child != -1:
            yield child
            child = self.next_sibling[child]


@dataclass(slots=True)
class _Results:
    """What a verification writes, in SGLang's tensors.

    Attributes:
        predicts: int32, [B * N], at each accepted node the token after it.
        accept_index: int32, [B, D], the accepted nodes among all of the batch, then -1.
        accept_token_num: int32, [B], accepted nodes without the root.
        retrieve_index: int64, [B, N], of each node among all of the batch.
    """

    predicts: torch.Tensor
    accept_index: torch.Tensor
    accept_token_num: torch.Tensor
    retrieve_index: torch.Tensor

    @property
    def most_nodes(self) -> int:
        most: int = self.accept_index.shape[1]
        return most

    def write(self, request: int, path: list[int], tree: _Tree, last_token: int) -> None:
        """The accepted path of a request, and the token after its last node."""
        nodes = self.retrieve_index[request, path]
        self.accept_index[request, : len(path)] = nodes.to(self.accept_index.dtype)
        self.accept_token_num[request] = len(path) - 1
        tokens = [*(tree.tokens[node] for node in path[1:]), last_token]
        self.predicts[nodes] = torch.tensor(tokens, dtype=self.predicts.dtype)


def verify_greedily(
    predicts: torch.Tensor,
    accept_index: torch.Tensor,
    accept_token_num: torch.Tensor,
    candidates: torch.Tensor,
    retrieve_index: torch.Tensor,
    retrieve_next_token: torch.Tensor,
    retrieve_next_sibling: torch.Tensor,
    target_predict: torch.Tensor,
) -> None:
    """SGLang's `verify_tree_greedy`: accept what the model's likeliest tokens agree with.

    Args:
        predicts: written, as are the next two; see `_Results`.
        candidates: tokens of the nodes, [B, N].
        retrieve_next_token: first children, [B, N].
        retrieve_next_sibling: [B, N].
        target_predict: the model's likeliest token at each node, [B, N].
    """
    results = _Results(predicts, accept_index, accept_token_num, retrieve_index)
    trees = _trees(candidates, retrieve_next_token, retrieve_next_sibling)
    for request, (tree, likeliest) in enumerate(zip(trees, target_predict.tolist(), strict=True)):
        path = [0]
        while len(path) < results.most_nodes:
            agreeing = (c for c in tree.children(path[-1]) if tree.tokens[c] == likeliest[path[-1]])
            child = next(agreeing, None)
            if child is None:
                break
            path.append(child)
        results.write(request, path, tree, likeliest[path[-1]])


def verify_by_sampling(
    predicts: torch.Tensor,
    accept_index: torch.Tensor,
    accept_token_num: torch.Tensor,
    candidates: torch.Tensor,
    retrive_index: torch.Tensor,
    retrive_next_token: torch.Tensor,
    retrive_next_sibling: torch.Tensor,
    uniform_samples: torch.Tensor,
    uniform_samples_for_final_sampling: torch.Tensor,
    target_probs: torch.Tensor,
    draft_probs: torch.Tensor,
    threshold_single: float = 1.0,
    threshold_acc: float = 1.0,
    deterministic: bool = True,
) -> None:
    """SGLang's `tree_speculative_sampling_target_only`, which is compiled for CUDA.

    At a node the children's tokens come first in the inverse of the model's distribution: a child
    is accepted with its own probability. Where none is, the token is drawn from the rest. So every
    token has the model's distribution (Leviathan et al., arXiv 2211.17192, section 2.3, for drafts
    without probabilities of their own). The names of the arguments are SGLang's.

    Args:
        predicts: written, as are the next two; see `_Results`.
        candidates: tokens of the nodes, [B, N].
        retrive_next_token: first children, [B, N].
        retrive_next_sibling: [B, N].
        uniform_samples: from [0, 1), [B, N], by which a child of the node is accepted.
        uniform_samples_for_final_sampling: from [0, 1), [B], for the token after the path.
        target_probs: the model's, float32, [B, N, V].
        draft_probs: not used; drafts have no probabilities.
        threshold_single: accept any child that is at least so likely; 1 for the model's
            distribution.
        threshold_acc: accept children as if each were likelier by the inverse of this; the same.
        deterministic: not used; this is.
    """
    del draft_probs, deterministic
    results = _Results(predicts, accept_index, accept_token_num, retrive_index)
    trees = _trees(candidates, retrive_next_token, retrive_next_sibling)
    last_coins = uniform_samples_for_final_sampling.tolist()
    for request, (tree, coins) in enumerate(zip(trees, uniform_samples.tolist(), strict=True)):
        path, rejected = [0], list[int]()
        while len(path) < results.most_nodes:
            probability_V = target_probs[request, path[-1]]
            reached, accepted = 0.0, None
            for child in tree.children(path[-1]):
                probability = float(probability_V[tree.tokens[child]])
                reached += probability
                if coins[path[-1]] < reached / threshold_acc or probability >= threshold_single:
                    accepted = child
                    break
                rejected.append(tree.tokens[child])
            if accepted is None:
                break
            path.append(accepted)
            rejected.clear()
        last_token = _drawn(target_probs[request, path[-1]], rejected, last_coins[request])
        results.write(request, path, tree, last_token)


def _drawn(probability_V: torch.Tensor, rejected: list[int], coin: float) -> int:
    """A token by the inverse of the distribution without some tokens."""
    rest_V = probability_V.double()
    rest_V[rejected] = 0.0
    reached_V = rest_V.cumsum(dim=0)
    total = float(reached_V[-1])
    if total <= 0.0:
        # Rounding alone kept the last child from being accepted.
        return rejected[-1]
    token = int(torch.searchsorted(reached_V, coin * total, right=True))
    return min(token, int(rest_V.nonzero()[-1]))


def _trees(
    candidates: torch.Tensor, first_child: torch.Tensor, next_sibling: torch.Tensor
) -> Iterator[_Tree]:
    rows = (candidates.tolist(), first_child.tolist(), next_sibling.tolist())
    for tokens, children, siblings in zip(*rows, strict=True):
        yield _Tree(tokens, children, siblings)
