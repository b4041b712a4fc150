"""What a worker with NGRAM speculation proposes for requests that came with a draft."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cascadia_sglang.drafts.follower import DraftFollower, Proposals
from cascadia_sglang.messages import ATTEMPT_KEY

NODES = 4


class FakeRequest:
    """What the follower needs of SGLang's `Req`."""

    vocab_size = 100

    def __init__(self, draft: list[Any] | None, output: list[int], rid: str = "r") -> None:
        self.rid = rid
        params = {"tier_index": 1, "threshold": 0.5, "draft": draft}
        self.sampling_params = SimpleNamespace(
            custom_params=None if draft is None else {ATTEMPT_KEY: params}
        )
        self.origin_input_ids = [90, 91, 92]
        self.output_ids = output
        self.is_over = False

    def finished(self) -> bool:
        return self.is_over

    @property
    def output_ids_through_stop(self) -> list[int]:
        """Nine ends an answer."""
        ids = self.output_ids
        return ids[: ids.index(9) + 1] if 9 in ids else ids


def corpus(requests: list[FakeRequest]) -> Proposals:
    """SGLang's own trees: the last token, and three tokens that branch from it."""
    mask = np.eye(NODES, dtype=np.uint8)
    mask[:, 0] = 1
    tokens = [[request.output_ids[-1], 70, 71, 72] for request in requests]
    return np.array(tokens).flatten(), np.tile(mask, (len(requests), 1, 1)).flatten()


def propose(
    follower: DraftFollower, requests: list[FakeRequest], staged: list[list[int]] | None = None
) -> Any:
    ends = staged or [[] for _ in requests]
    worker: Any = SimpleNamespace(
        draft_token_num=NODES,
        prev_token_ids=[t for end in ends for t in [*end, *[0] * (NODES - len(end))]],
        prev_accept_lens=[len(end) for end in ends],
    )
    return follower.propose(corpus(requests), worker, SimpleNamespace(reqs=requests))  # type: ignore[arg-type]


def test_a_chain_of_the_draft_replaces_the_tree_of_its_request_alone() -> None:
    plain, drafted = FakeRequest(None, [5]), FakeRequest([1, 2, 3, 4, 5, 6], [1, 2])
    tokens, mask = propose(DraftFollower(), [plain, drafted])
    assert tokens.tolist() == [5, 70, 71, 72, 2, 3, 4, 5]
    untouched = corpus([plain])[1].reshape(NODES, NODES)
    masks = mask.reshape(2, NODES, NODES)
    assert masks[0].tolist() == untouched.tolist()
    assert masks[1].tolist() == np.tril(np.ones((NODES, NODES))).tolist()


def test_a_short_chain_ends_with_nodes_that_are_seldom_right() -> None:
    request = FakeRequest([1, 2, 3], [1, 2])
    tokens, _ = propose(DraftFollower(), [request])
    assert tokens.tolist() == [2, 3, 2, 2]


def test_without_drafts_nothing_changes() -> None:
    assert propose(DraftFollower(), [FakeRequest(None, [5]), FakeRequest([], [6])]) is None


def test_a_draft_that_says_nothing_leaves_sglangs_own_tree() -> None:
    assert propose(DraftFollower(), [FakeRequest([1], [7])]) is None


def test_tokens_of_the_step_before_count() -> None:
    """They are not in the output yet, where a step overlaps the next one."""
    request = FakeRequest([1, 2, 3, 4, 5, 6], [1])
    tokens, _ = propose(DraftFollower(), [request], [[2, 3]])
    assert tokens.tolist()[1:] == [4, 5, 6]


def test_the_report_of_a_finished_request_counts_what_it_kept() -> None:
    follower = DraftFollower()
    drafted, plain = FakeRequest([1, 2, 3, 4, 5], [1]), FakeRequest(None, [5])
    propose(follower, [drafted, plain])
    assert follower.reports([drafted, plain]) == [[], []]  # type: ignore[list-item]
    drafted.output_ids = [1, 2, 3, 9, 5, 6]
    drafted.is_over = plain.is_over = True
    (report,), none = follower.reports([drafted, plain])  # type: ignore[list-item]
    assert (report["kept"], none) == (2, [])


def test_a_draft_that_cannot_be_followed_costs_no_other_request_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is dropped at its first step, and the log says so once."""
    follower = DraftFollower()
    odd, drafted = FakeRequest([1, "two", 3], [1], "odd"), FakeRequest([1, 2, 3, 4, 5], [1])
    for written in range(1, 4):
        drafted.output_ids = [1, 2, 3, 4][:written]
        tokens, _ = propose(follower, [odd, drafted])
        assert tokens.tolist()[:NODES] == [1, 70, 71, 72]
        assert tokens.tolist()[NODES + 1] == written + 1
    assert [record.message for record in caplog.records] == [
        "request odd goes on without its draft"
    ]


def test_a_token_that_the_model_does_not_have_is_never_proposed() -> None:
    request = FakeRequest([1, 2, FakeRequest.vocab_size, 4], [1])
    tokens, _ = propose(DraftFollower(), [request])
    assert tokens.tolist() == [1, 2, 1, 1]
