"""The columns that operations share, and the values that pass from one operation to the next.

Importable without torch: the judge on a host without an accelerator reads the same columns.

Shape legend: B rows, V vocabulary, S ranges of a row, P partial statistics, C kept rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

# Partial statistics of a range of columns, in order. `d = x - peak` over the finite logits x.
PARTIALS = (
    "peak",  # the largest logit
    "total",  # sum of exp(d)
    "tempered",  # sum of exp(d / temperature)
    "weighted",  # sum of d exp(d)
    "linear",  # sum of d
    "finite",  # number of finite logits
    "second",  # the largest logit of the other columns; -inf where there is none
    "place",  # the first column with the largest logit, counted from the range's first
)
PARTIALS_STRIDE = len(PARTIALS)

# What a decoding step says of the token it chose, in order.
STEP_VALUES = (
    "logprob",  # of the sampled token under the raw logits
    "entropy",
    "margin",
    "self_certainty",
    "known",  # 1 where the log-probability is exact, 0 where it is only an upper bound
)


class RowStatistics(NamedTuple):
    """Partial statistics of the raw logits by row and range.

    `row_summary` turns them into named numbers; `fold_sampled` reads them unchanged.
    """

    partials_BSP: torch.Tensor  # float32, PARTIALS in the last dimension
    columns: int  # V
    range_columns: int


class KeptLogits(NamedTuple):
    """Rows of raw logits that were copied before something of a request's own changed them.

    The sampler's probabilities of such a row are not of its raw logits.
    """

    logits_CV: torch.Tensor  # columns contiguous
    places_B: torch.Tensor  # int32, index of the row among those kept; negative where it is not
