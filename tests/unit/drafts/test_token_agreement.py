"""How far drafts agree, on the host and as on an accelerator."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cascadia_kernels.testing import make_logits
from cascadia_sglang.drafts import token_agreement as module
from cascadia_sglang.drafts.token_agreement import Comparison, DraftPlaces, upload
from cascadia_sglang.judge.draft_step import draft_values

CPU = torch.device("cpu")
VOCABULARY = 3


def on_host(logits_nV: torch.Tensor, places: DraftPlaces) -> Comparison:
    return module._on_host(logits_nV, places, draft_values)


FORMS = pytest.mark.parametrize("form", [on_host, module._on_device], ids=["host", "device"])
DRAFT = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5)


def rows_of(drafts: list[list[int]]) -> list[range]:
    """Rows one draft after the other."""
    starts = [sum(map(len, drafts[:index])) for index in range(len(drafts))]
    return [range(start, start + len(draft)) for start, draft in zip(starts, drafts, strict=True)]


@FORMS
@given(drafts=st.lists(DRAFT, min_size=1, max_size=5), data=st.data())
def test_each_draft_is_compared_with_rows_of_its_own(
    form: Any, drafts: list[list[int]], data: st.DataObject
) -> None:
    rows = sum(map(len, drafts))
    likeliest = data.draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=rows, max_size=rows))
    one_hot = torch.nn.functional.one_hot(torch.tensor(likeliest), VOCABULARY).float()
    # A row of its own value, by which it is known again.
    logits_nV = one_hot + 2.0 * torch.arange(rows)[:, None]
    comparison = form(logits_nV, upload(rows_of(drafts), drafts, CPU))
    compared = [(reported.agreed, reported.preferred) for reported in comparison.results()]
    expected, next_rows = [], []
    for draft, span in zip(drafts, rows_of(drafts), strict=True):
        preferred = [likeliest[row] for row in span]
        diverged = [index for index in range(len(draft)) if preferred[index] != draft[index]]
        expected.append((diverged[0], preferred[diverged[0]]) if diverged else (len(draft), None))
        next_rows.append(span[diverged[0]] if diverged else span[-1])
    assert compared == expected
    assert torch.equal(comparison.next_logits_GV, logits_nV[next_rows])


@FORMS
def test_values_are_those_of_the_drafts_tokens(form: Any) -> None:
    drafts = [[3, 1], [7], [2, 39, 0]]
    logits_nV = make_logits(6, 40)
    compared = form(logits_nV, upload(rows_of(drafts), drafts, CPU)).results()
    for draft, rows, reported in zip(drafts, rows_of(drafts), compared, strict=True):
        exact_nV = logits_nV[list(rows)].double().log_softmax(dim=-1)
        exact_n = exact_nV[range(len(draft)), draft].numpy()
        np.testing.assert_allclose(reported.values_nD[:, 0], exact_n, rtol=1e-5)
        assert reported.values_nD[:, 4].tolist() == [1.0] * len(draft)


def test_both_forms_tell_the_same_values() -> None:
    drafts = [[3, 50], [39, 0]]
    logits_nV = make_logits(4, 40)
    places = upload(rows_of(drafts), drafts, CPU)
    host, device = on_host(logits_nV, places), module._on_device(logits_nV, places)
    for from_host, from_device in zip(host.results(), device.results(), strict=True):
        np.testing.assert_allclose(from_host.values_nD, from_device.values_nD, rtol=1e-4, atol=1e-5)
