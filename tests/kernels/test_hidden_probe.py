"""hidden_probe: equal to the float64 reference, and a property of each row alone."""

import math

import pytest
import torch

from cascadia_kernels.hidden_probe import EPSILON, ProbeWeights, hidden_probe
from cascadia_kernels.reference import reference_probe


def make_weights(hidden: int, units: int, device: torch.device) -> ProbeWeights:
    generator = torch.Generator().manual_seed(units)
    weights = ProbeWeights(
        norm_weight_H=1.0 + 0.1 * torch.randn(hidden, generator=generator),
        norm_bias_H=0.1 * torch.randn(hidden, generator=generator),
        first_HU=torch.randn(hidden, units, generator=generator) / math.sqrt(hidden),
        first_bias_U=0.1 * torch.randn(units, generator=generator),
        second_U=torch.randn(units, generator=generator) / math.sqrt(units),
        second_bias_1=torch.randn(1, generator=generator),
    )
    return ProbeWeights(*(weight.to(device) for weight in weights))


def make_hidden(rows: int, hidden: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    return (3.0 + 2.0 * torch.randn(rows, hidden, generator=generator)).to(dtype)


# Hidden: one below / at a block, several with a rest. Units: one, a group, more with a rest. Rows:
# none, fewer than a program takes, and more.
@pytest.mark.parametrize(
    ("height", "hidden", "units"), [(0, 64, 16), (1, 63, 1), (17, 64, 16), (3, 200, 40)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_equal_the_float64_reference(
    height: int, hidden: int, units: int, dtype: torch.dtype, device: torch.device
) -> None:
    weights = make_weights(hidden, units, device)
    hidden_BH = make_hidden(height, hidden, dtype)
    scores_B = hidden_probe(hidden_BH.to(device), weights)
    assert scores_B.shape == (height,)
    for row in range(height):
        expected = reference_probe(hidden_BH[row].double().tolist(), weights, EPSILON)
        assert scores_B[row].item() == pytest.approx(expected, abs=1e-5), row


def test_a_row_is_bit_identical_alone_and_in_any_batch(device: torch.device) -> None:
    weights = make_weights(200, 40, device)
    hidden_BH = make_hidden(19, 200, torch.float32).to(device)
    together = hidden_probe(hidden_BH, weights)
    for row in (0, 7, 18):
        assert torch.equal(hidden_probe(hidden_BH[row : row + 1], weights)[0], together[row]), row


def test_a_broken_row_is_nan_and_leaves_the_others_as_they_are(device: torch.device) -> None:
    weights = make_weights(64, 16, device)
    hidden_BH = make_hidden(3, 64, torch.float32).to(device)
    whole = hidden_probe(hidden_BH, weights)
    hidden_BH[1, 5] = math.inf
    broken = hidden_probe(hidden_BH, weights)
    assert broken[1].isnan()
    assert torch.equal(broken[[0, 2]], whole[[0, 2]])


def test_rows_may_be_strided(device: torch.device) -> None:
    weights = make_weights(64, 16, device)
    wide_BH = make_hidden(2, 100, torch.float32).to(device)
    expected = hidden_probe(wide_BH[:, :64].contiguous(), weights)
    assert torch.equal(hidden_probe(wide_BH[:, :64], weights), expected)


def test_another_hidden_size_is_refused(device: torch.device) -> None:
    with pytest.raises(ValueError, match=r"takes hidden states \[B, 64\]"):
        hidden_probe(torch.zeros(2, 63, device=device), make_weights(64, 16, device))
