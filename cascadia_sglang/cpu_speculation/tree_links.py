"""The links of a draft tree from its ancestor mask.

Shape legend: B requests, N nodes of a request's tree; a node comes after its parent.
"""

import torch


def tree_links(
    tree_mask: torch.Tensor,
    verified_seq_len: torch.Tensor,
    positions: torch.Tensor,
    retrieve_index: torch.Tensor,
    retrieve_next_token: torch.Tensor,
    retrieve_next_sibling: torch.Tensor,
    batch_size: int,
    draft_token_num: int,
) -> None:
    """`sgl_kernel.speculative.reconstruct_indices_from_tree_mask`, which is compiled for CUDA.

    Args:
        tree_mask: bool, [B * N * N], true where the column's node is an ancestor of the row's, or
            the row's own.
        verified_seq_len: tokens of each request before the tree, [B].
        positions: written, [B * N]: of each node's token in its sequence.
        retrieve_index: written, [B, N]: of each node among all nodes of the batch.
        retrieve_next_token: written, [B, N]: a node's first child; -1 for none.
        retrieve_next_sibling: written, [B, N]: its parent's next child; -1 for none.
        batch_size: B.
        draft_token_num: N.
    """
    shape = (batch_size, draft_token_num, draft_token_num)
    is_ancestor_BNN = tree_mask[: batch_size * draft_token_num**2].view(shape).bool().tril(-1)
    nodes_N = torch.arange(draft_token_num, device=tree_mask.device)
    depth_BN = is_ancestor_BNN.sum(dim=-1)
    positions.copy_((depth_BN + verified_seq_len.unsqueeze(-1)).flatten())
    retrieve_index.copy_(torch.arange(batch_size * draft_token_num).view_as(retrieve_index))

    # The first node below another is its first child, and the last node above is the parent.
    first_below_BN = _first_row(is_ancestor_BNN, nodes_N)
    retrieve_next_token.copy_(first_below_BN)
    parent_BN = torch.where(is_ancestor_BNN, nodes_N, -1).amax(dim=-1)
    has_parent_BN = parent_BN >= 0
    is_later_sibling_BNN = (parent_BN.unsqueeze(-1) == parent_BN.unsqueeze(-2)).tril(-1)
    next_sibling_BN = _first_row(is_later_sibling_BNN, nodes_N)
    retrieve_next_sibling.copy_(next_sibling_BN.where(has_parent_BN, -1))


def _first_row(mask_BNN: torch.Tensor, nodes_N: torch.Tensor) -> torch.Tensor:
    """The first row that is true in each column, [B, N]; -1 where none is."""
    end = len(nodes_N)
    row_BN = torch.where(mask_BNN, nodes_N.unsqueeze(-1), end).amin(dim=1)
    return row_BN.where(row_BN < end, -1)
