"""How far drafts agree, on the host and as on an accelerator."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cascadia_kernels.testing import make_logits
from cascadia_sglang.verify import compare as module
from cascadia_sglang.verify.compare import compare

FORMS = [module._on_host, module._on_device]


@pytest.mark.parametrize("form", FORMS)
@given(drafts=st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=5))
def test_each_draft_is_compared_with_rows_of_its_own(
    form: Callable[..., Any], drafts: list[list[int]]
) -> None:
    likeliest = [place % 3 for place in range(sum(map(len, drafts)))]
    logits_NV = torch.nn.functional.one_hot(torch.tensor(likeliest, dtype=torch.int64), 3).float()
    found = [told[:2] for told in form(logits_NV, drafts)]
    expected = []
    rows = iter(likeliest)
    for draft in drafts:
        own = [next(rows) for _ in draft]
        parted = [place for place in range(len(draft)) if own[place] != draft[place]]
        expected.append((parted[0], own[parted[0]]) if parted else (len(draft), None))
    assert found == expected


def test_a_part_has_the_logits_and_values_of_its_draft() -> None:
    logits_NV = make_logits(5, 40)
    drafts = [[3, 1], [], [2, 39, 0]]
    parts = compare(logits_NV, drafts)
    assert torch.equal(torch.cat([part.logits_nV for part in parts]), logits_NV)
    for draft, part, told in zip(drafts, parts, module._on_device(logits_NV, drafts), strict=True):
        assert part.values_nD is None
        values_nD = told[2]
        assert len(values_nD) == len(part.logits_nV) == len(draft)
        exact = part.logits_nV.log_softmax(dim=-1)[range(len(draft)), draft]
        torch.testing.assert_close(values_nD[:, 0], exact)
