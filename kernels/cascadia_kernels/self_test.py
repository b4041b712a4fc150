"""A few random rows through every op that serves, compared with PyTorch in float64.

Kernels that never ran on this kind of device may compile and yet be wrong; wrong scores show
nowhere. This takes milliseconds once the ops are compiled.

Shape legend: B rows, V vocabulary, D step values, H hidden size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.hidden_probe import EPSILON, ProbeWeights, hidden_probe
from cascadia_kernels.layout import STEP_VALUES, KeptLogits
from cascadia_kernels.row_statistics import row_statistics
from cascadia_kernels.row_summary import row_summary
from cascadia_kernels.testing import make_logits
from cascadia_kernels.token_values import token_values
from cascadia_kernels.verify_draft import verify_draft

ROWS = 4
# Two float32 softmaxes may lie between a probability and its logit; a wrong kernel is far off.
TOLERANCE = 1e-3


class SelfTestError(RuntimeError):
    """An op that disagrees with its float64 reference; the text is one line."""


class SelfTestRows(NamedTuple):
    """Rows of logits with what float64 says of them, on the CPU."""

    logits_BV: torch.Tensor  # float32
    temperature_B: torch.Tensor
    token_ids_B: torch.Tensor  # int64: a best one, a second best and two of any rank
    values_BD: torch.Tensor  # float64, the step values of these tokens, all known
    best_ids_B: torch.Tensor


def self_test_rows(columns: int, seed: int = 0) -> SelfTestRows:
    """Random rows: plain, with equal logits, with columns at -inf, and one sharp."""
    logits_BV = make_logits(ROWS, columns, seed=seed)
    logits_BV[1] = logits_BV[1].bfloat16().float()
    generator = torch.Generator().manual_seed(seed)
    is_masked_V = torch.rand(columns, generator=generator) < 0.3
    is_masked_V[[columns // 2, int(logits_BV[2].argmax())]] = False
    logits_BV[2].masked_fill_(is_masked_V, -torch.inf)
    logits_BV[3] *= 4.0
    best_ids_B = logits_BV.argmax(dim=-1)
    second = int(logits_BV[1].topk(min(2, columns)).indices[-1])
    token_ids_B = torch.tensor([int(best_ids_B[0]), second, columns // 2, columns // 3])
    temperature_B = torch.tensor([0.3, 0.7, 1.0, 1.7])
    return SelfTestRows(
        logits_BV,
        temperature_B,
        token_ids_B,
        _values(logits_BV.double(), token_ids_B),
        best_ids_B,
    )


def _values(logits_BV: torch.Tensor, token_ids_B: torch.Tensor) -> torch.Tensor:
    """Step values in float64."""
    logprobs_BV = logits_BV.log_softmax(dim=-1)
    is_finite_BV = logprobs_BV.isfinite()
    finite_BV = logprobs_BV.where(is_finite_BV, 0.0)
    count_B = is_finite_BV.sum(dim=-1).double()
    best_BK = logits_BV.topk(min(2, logits_BV.shape[1]), dim=-1).values
    margin_B = torch.full_like(count_B, torch.inf)
    if best_BK.shape[1] == 2:
        margin_B = best_BK[:, 0] - best_BK[:, 1]
    values = (
        logprobs_BV.gather(1, token_ids_B.unsqueeze(-1)).squeeze(-1),
        -(logprobs_BV.exp() * finite_BV).sum(dim=-1),
        margin_B,
        -finite_BV.sum(dim=-1) / count_B - count_B.log(),
        torch.ones_like(count_B),
    )
    return torch.stack(values, dim=-1)


def self_test(
    device: torch.device | str,
    columns: int,
    probes: Sequence[ProbeWeights] = (),
    hidden_dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Run each kind of step, a draft, a summary and each probe on a few rows.

    Args:
        columns: V, the vocabulary.
        hidden_dtype: of the hidden states that the probes read.

    Raises:
        SelfTestError: names the first op, row and value that disagrees with float64.
    """
    rows = self_test_rows(columns)
    logits_BV, token_ids_B = rows.logits_BV.to(device), rows.token_ids_B.to(device)
    temperature_B = rows.temperature_B.to(device)
    kept_logits = KeptLogits(logits_BV, torch.arange(ROWS, dtype=torch.int32, device=device))

    greedy = row_statistics(logits_BV)
    actual_BD = fold_sampled(greedy, token_ids_B, None, None, kept_logits)
    compare("a greedy step", actual_BD, rows.values_BD, STEP_VALUES)

    sampled = row_statistics(logits_BV, temperature_B)
    probability_BV = (logits_BV / temperature_B.unsqueeze(-1)).softmax(dim=-1)
    actual_BD = fold_sampled(sampled, token_ids_B, probability_BV, temperature_B)
    compare("a sampled step", actual_BD, rows.values_BD, STEP_VALUES)

    chosen_R = torch.tensor([3, -1, 0], dtype=torch.int32, device=device)
    accepted = row_statistics(logits_BV, rows_R=chosen_R)
    verified = token_values(accepted, logits_BV, token_ids_B.to(torch.int32), chosen_R)
    rows_of = [0, 2]  # of the three, those that are rows
    compare("a speculative step", verified.values_RD[rows_of], rows.values_BD[[3, 0]], STEP_VALUES)
    preferred = [int(rows.best_ids_B[3]), -1, int(rows.best_ids_B[0])]
    compare_ids("a speculative step", verified.preferred_R, torch.tensor(preferred))

    draft = verify_draft(logits_BV, token_ids_B, torch.tensor([0, ROWS], device=device))
    compare("a draft", draft.values_ND, rows.values_BD, STEP_VALUES)
    agreed = int((rows.token_ids_B == rows.best_ids_B).long().cumprod(dim=0).sum())
    compare_ids("a draft's agreement", draft.agreed_G, torch.tensor([agreed]))
    compare_ids("a draft's preferred tokens", draft.preferred_N, rows.best_ids_B)

    summary = row_summary(sampled, temperature_B)
    compare_ids("the best tokens", summary.best_ids_B, rows.best_ids_B)
    for weights in probes:
        _test_probe(weights, hidden_dtype)


def _test_probe(weights: ProbeWeights, hidden_dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = weights.first_HU.shape[0]
    hidden_BH = torch.randn(ROWS, hidden, generator=generator).to(hidden_dtype)
    norm_weight, norm_bias, first, first_bias, second, bias = (w.cpu().double() for w in weights)
    rows_BH = hidden_BH.double()
    centred_BH = rows_BH - rows_BH.mean(dim=-1, keepdim=True)
    scale_B1 = (centred_BH.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt()
    inner_BU = (centred_BH / scale_B1 * norm_weight + norm_bias) @ first + first_bias
    expected_B = torch.sigmoid((inner_BU * torch.sigmoid(inner_BU)) @ second + bias)
    actual_B = hidden_probe(hidden_BH.to(weights.first_HU.device), weights)
    compare("a probe", actual_B.unsqueeze(-1), expected_B.unsqueeze(-1), ("score",))


def compare(
    op: str, actual_BD: torch.Tensor, expected_BD: torch.Tensor, names: Sequence[str]
) -> None:
    """Compare values with those of float64.

    Raises:
        SelfTestError: names the op, the row, the value, what was found and what is right.
    """
    actual_BD = actual_BD.cpu().double()
    allowed_BD = TOLERANCE * (1.0 + expected_BD.abs())
    is_near_BD = (actual_BD == expected_BD) | ((actual_BD - expected_BD).abs() <= allowed_BD)
    for row, column in (~is_near_BD).nonzero().tolist():
        raise SelfTestError(
            f"{op} gives {names[column]} {actual_BD[row, column].item():.6g} in row {row}, "
            f"float64 gives {expected_BD[row, column].item():.6g}"
        )


def compare_ids(op: str, actual_B: torch.Tensor, expected_B: torch.Tensor) -> None:
    """Compare token ids or counts.

    Raises:
        SelfTestError: names the op, what was found and what is right.
    """
    actual, expected = actual_B.tolist(), expected_B.tolist()
    if actual != expected:
        raise SelfTestError(f"{op}: found {actual}, float64 gives {expected}")
