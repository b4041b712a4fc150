"""self_test: passes where the ops are right, and refuses every op that is wrong."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton

from cascadia_kernels.hidden_probe import ProbeWeights
from cascadia_kernels.reference import reference_logprob, reference_row
from cascadia_kernels.self_test import SelfTestError, self_test, self_test_rows
from cascadia_kernels.testing import TOLERANCES, assert_near

INTERPRETED = bool(triton.knobs.runtime.interpret)
MODULE = importlib.import_module("cascadia_kernels.self_test")


@pytest.mark.parametrize(
    "columns", [1, 2, 40, 5000] if INTERPRETED else [1, 2, 3, 40, 5000, 151936]
)
def test_right_kernels_pass(columns: int, device: torch.device) -> None:
    self_test(device, columns)


def test_the_expected_values_are_the_references() -> None:
    rows = self_test_rows(300)
    for row, logits in enumerate(rows.logits_BV.double().tolist()):
        expected = reference_row(logits, 1.0)
        expected["logprob"] = reference_logprob(logits, int(rows.token_ids_B[row]))
        for column, name in enumerate(("logprob", "entropy", "margin", "self_certainty")):
            actual = rows.values_BD[row, column].item()
            assert_near(actual, expected[name], TOLERANCES[torch.float32], f"{row} {name}")
    assert rows.logits_BV[2].isneginf().any()
    assert rows.best_ids_B[0] == rows.token_ids_B[0]
    assert rows.best_ids_B[2] != rows.token_ids_B[2]


def off_by(amount: float) -> Callable[[Any], Any]:
    """A wrong result: the second row of a step's values, or of a draft's, is off."""

    def spoil(result: Any) -> Any:
        values = result if torch.is_tensor(result) else result.values_ND
        values[1, 1] += amount
        return result

    return spoil


def other_tokens(result: Any) -> Any:
    """A wrong result: the likeliest tokens are others."""
    name = "preferred_N" if hasattr(result, "preferred_N") else "best_ids_B"
    return result._replace(**{name: getattr(result, name) + 1})


@pytest.mark.parametrize(
    ("op", "spoil", "message"),
    [
        ("fold_sampled", off_by(0.1), "a greedy step gives entropy .* in row 1, float64 gives"),
        ("fold_sampled", off_by(math.nan), "a greedy step gives entropy nan in row 1"),
        ("verify_draft", off_by(0.1), "a draft gives entropy"),
        ("verify_draft", other_tokens, "a draft's preferred tokens: found"),
        ("row_summary", other_tokens, "the best tokens: found"),
    ],
)
def test_a_wrong_op_is_refused_in_one_line(
    op: str,
    spoil: Callable[[Any], Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
) -> None:
    right = getattr(MODULE, op)
    monkeypatch.setattr(MODULE, op, lambda *arguments: spoil(right(*arguments)))
    with pytest.raises(SelfTestError, match=message) as raised:
        self_test(device, 40)
    assert "\n" not in str(raised.value)


def test_statistics_of_another_row_are_refused(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    right = MODULE.row_statistics
    monkeypatch.setattr(MODULE, "row_statistics", lambda x, *rest: right(x.roll(1, 0), *rest))
    with pytest.raises(SelfTestError, match="a greedy step gives"):
        self_test(device, 40)


def test_a_wrong_probe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = ((8,), (8,), (8, 3), (3,), (3,), (1,))
    weights = ProbeWeights(*(torch.randn(size, generator=generator) for size in sizes))
    monkeypatch.setattr(MODULE, "hidden_probe", lambda rows, _weights: torch.zeros(len(rows)))
    with pytest.raises(SelfTestError, match="a probe gives score 0 in row 0"):
        self_test("cpu", 40, probes=[weights])


@pytest.mark.skipif(not INTERPRETED, reason="a probe has a Triton form alone")
def test_a_right_probe_passes() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = ((70,), (70,), (70, 20), (20,), (20,), (1,))
    weights = ProbeWeights(*(torch.randn(size, generator=generator) for size in sizes))
    self_test("cpu", 40, probes=[weights])
