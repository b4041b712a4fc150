"""A comparison on an accelerator copies once each way, and waits for nothing.

The accelerator is PyTorch's fake one: tensors without memory, which know their device.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from cascadia_kernels.verify_draft import DraftAgreement
from cascadia_sglang.drafts import device_copies as transfers
from cascadia_sglang.drafts import token_agreement as module
from cascadia_sglang.drafts.device_copies import to_device
from cascadia_sglang.drafts.token_agreement import compare, upload

GPU = torch.device("cuda", 0)
VOCABULARY = 50


class Copies(TorchDispatchMode):
    """Notes copies between devices: from, to, and whether nobody waits for them.

    A number that is read from the device raises: a fake one has none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[str, str, bool]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        name = function.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            source, target = (args[0], result) if name == "_to_copy" else (args[1], args[0])
            if source.device != target.device:
                is_free = kwargs.get("non_blocking", False) or args[2:3] == (True,)
                self.copies.append((source.device.type, target.device.type, is_free))
        if name == "index" and any(index.device != args[0].device for index in args[1]):
            self.copies.append(("cpu", "cuda", False))
        return result


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A fake accelerator; memory of the host is not pinned, for that needs a driver."""
    pinned: list[int] = []
    events: list[str] = []

    def host_buffer(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        assert device.type == "cuda"
        pinned.append(size)
        return torch.empty(size, dtype=dtype)

    event = SimpleNamespace(
        record=lambda: events.append("recorded"), synchronize=lambda: events.append("waited")
    )
    monkeypatch.setattr(transfers, "host_buffer", host_buffer)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(module, "verify_draft", fake_verify_draft)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield SimpleNamespace(pinned=pinned, events=events)


def fake_verify_draft(
    logits_nV: torch.Tensor, token_ids_n: torch.Tensor, starts_H: torch.Tensor
) -> DraftAgreement:
    del logits_nV
    rows, drafts = len(token_ids_n), len(starts_H) - 1
    return DraftAgreement(
        torch.empty(rows, 5, device=GPU),
        torch.empty(rows, dtype=torch.int64, device=GPU),
        torch.empty(drafts, dtype=torch.int64, device=GPU),
        torch.empty(drafts, dtype=torch.int64, device=GPU),
    )


def test_a_comparison_copies_once_each_way_and_does_not_wait(gpu: SimpleNamespace) -> None:
    with Copies() as seen:
        places = upload([range(3, 6), range(9, 11)], [[1, 2, 3], [4, 5]], GPU)
        hidden_TD = torch.empty(20, 16, device=GPU)
        hidden_nD = hidden_TD.index_select(0, places.rows_n)
        comparison = compare(torch.empty(len(hidden_nD), VOCABULARY, device=GPU), places)
    assert seen.copies == [("cpu", "cuda", True), ("cuda", "cpu", True)]
    assert gpu.events == ["recorded"]
    # What was sent, and the values, counts and tokens that come back.
    assert gpu.pinned[1] == 5 * 5 + 2 + 2
    assert comparison.next_logits_GV.shape == (2, VOCABULARY)
    assert comparison.next_logits_GV.device == GPU


def test_a_copy_that_waits_would_be_seen(gpu: SimpleNamespace) -> None:
    del gpu
    row_V = torch.empty(VOCABULARY, device=GPU)
    for waits in (row_V[0].item, row_V.tolist):
        with pytest.raises(DataDependentOutputException):
            waits()
    with Copies() as seen:
        row_V.cpu()
        row_V[[1, 2]]
        row_V[torch.tensor([1, 2])]
    assert seen.copies == [
        ("cuda", "cpu", False),
        ("cpu", "cuda", False),
        ("cpu", "cuda", False),
    ]


def test_lists_arrive_whole_and_at_places_that_kernels_are_compiled_for() -> None:
    lists = [[1, 2, 3], [], [4], [5, 6, 7, 8], [9]]
    tensors = to_device(lists, torch.device("cpu"))
    assert [tensor.tolist() for tensor in tensors] == lists
    base = tensors[0].data_ptr()
    assert all((tensor.data_ptr() - base) % 16 == 0 for tensor in tensors)
