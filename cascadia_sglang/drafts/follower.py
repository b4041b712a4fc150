"""Proposes the drafts of a worker's requests to SGLang's NGRAM speculation.

SGLang asks its corpus of seen tokens for a tree of drafts a request. A request that came with a
draft gets a chain of the draft's tokens in its place. Everything after that is SGLang's: the
verification keeps the model's own distribution, whatever is proposed.
"""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cascadia_sglang.drafts.draft import known_tokens
from cascadia_sglang.drafts.followed_draft import FollowedDraft
from cascadia_sglang.messages import ATTEMPT_KEY, DraftReport
from cascadia_sglang.sglang_state import FOLLOWED_DRAFT

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
    from sglang.srt.speculative.ngram_worker import NGRAMWorker

logger = logging.getLogger(__name__)

# Tokens of all trees of a batch, and the mask of each node's ancestors.
Proposals = tuple[npt.NDArray[np.int64], npt.NDArray[Any]]

_NOTHING: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)


class DraftFollower:
    """The drafts of one worker that decodes speculatively."""

    def propose(
        self, proposals: Proposals, worker: "NGRAMWorker", batch: "ScheduleBatch"
    ) -> Proposals | None:
        """What SGLang proposes, with chains of drafts in place of some trees; None for no change.

        A request whose draft cannot be followed goes on without it; the others keep theirs.
        """
        nodes = worker.draft_token_num
        chains: dict[int, npt.NDArray[np.int64]] = {}
        for index, request in enumerate(batch.reqs):
            try:
                chain = _chain(request, index, worker)
            except Exception:
                logger.exception("request %s goes on without its draft", request.rid)
                FOLLOWED_DRAFT.set(request, None)
                continue
            if len(chain):
                chains[index] = chain
        if not chains:
            return None
        tokens, mask = proposals[0].copy(), proposals[1].copy()
        masks = mask.reshape(len(batch.reqs), nodes, nodes)
        for index, chain in chains.items():
            tree_tokens = tokens[index * nodes : (index + 1) * nodes]
            tree_tokens[1 : 1 + len(chain)] = chain
            # Nodes behind the chain repeat the root; they are right as seldom as any token.
            tree_tokens[1 + len(chain) :] = tree_tokens[0]
            masks[index] = np.tril(np.ones((nodes, nodes)))
        return tokens, mask

    @staticmethod
    def reports(requests: list["Req"]) -> list[list[dict[str, Any]]]:
        """One list a request: what became of its draft, where it has ended and had one."""
        reports: list[list[dict[str, Any]]] = []
        for request in requests:
            draft = FOLLOWED_DRAFT.get(request)
            if draft is None or not request.finished():
                reports.append([])
            else:
                # What a run holds after the end of the answer is not part of it.
                draft.observe(request.output_ids_through_stop)
                reports.append([DraftReport(kept=draft.kept_tokens).to_meta()])
        return reports


def _chain(request: "Req", index: int, worker: "NGRAMWorker") -> npt.NDArray[np.int64]:
    """The tokens that a request's draft proposes, at most a tree's without its root; or none.

    Args:
        index: of the request in its batch.
    """
    nodes = worker.draft_token_num
    draft = FOLLOWED_DRAFT.get(request) or _begin(request)
    if draft is None:
        return _NOTHING
    # Tokens of the step before that the scheduler has not added yet.
    first = index * nodes
    staged = worker.prev_token_ids[first : first + worker.prev_accept_lens[index]]
    draft.observe(request.output_ids, staged)
    return np.array(draft.propose(nodes - 1), dtype=np.int64)


def _begin(request: "Req") -> FollowedDraft | None:
    """Begin to follow a request's draft, where it came with one."""
    if FOLLOWED_DRAFT.is_set(request):
        return None
    params = (request.sampling_params.custom_params or {}).get(ATTEMPT_KEY) or {}
    token_ids = known_tokens(params.get("draft") or (), request.vocab_size)
    draft = FollowedDraft(token_ids, request.origin_input_ids) if token_ids else None
    FOLLOWED_DRAFT.set(request, draft)
    return draft
