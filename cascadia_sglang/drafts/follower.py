"""Proposes the drafts of a worker's requests to SGLang's NGRAM speculation.

SGLang asks its corpus of seen tokens for a tree of drafts a request. A request that came with a
draft gets a chain of the draft's tokens in its place. Everything after that is SGLang's: the
verification keeps the model's own distribution, whatever is proposed.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cascadia_sglang.drafts.followed_draft import FollowedDraft
from cascadia_sglang.messages import ATTEMPT_KEY, DraftReport
from cascadia_sglang.sglang_state import FOLLOWED_DRAFT

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
    from sglang.srt.speculative.ngram_worker import NGRAMWorker

logger = logging.getLogger(__name__)

# Tokens of all trees of a batch, and the mask of each node's ancestors.
Proposals = tuple[npt.NDArray[np.int64], npt.NDArray[Any]]


class DraftFollower:
    """The drafts of one worker that decodes speculatively."""

    def __init__(self) -> None:
        self._has_failed = False

    def propose(
        self, found: Proposals, worker: "NGRAMWorker", batch: "ScheduleBatch"
    ) -> Proposals | None:
        """What SGLang proposes, with chains of drafts in place of some trees; None for no change.

        Never raises: without its draft a request is answered as without one.
        """
        try:
            return self._propose(found, worker, batch.reqs)
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                logger.exception("drafts are not followed")
            return None

    def _propose(
        self, found: Proposals, worker: "NGRAMWorker", requests: Sequence["Req"]
    ) -> Proposals | None:
        nodes = worker.draft_token_num
        chains: dict[int, Sequence[int]] = {}
        for index, request in enumerate(requests):
            draft = FOLLOWED_DRAFT.get(request) or _begin(request)
            if draft is not None:
                first = index * nodes
                # Tokens of the step before that the scheduler has not added yet.
                staged = worker.prev_token_ids[first : first + worker.prev_accept_lens[index]]
                draft.observe(request.output_ids, staged)
                chain = draft.propose(nodes - 1)
                if chain:
                    chains[index] = chain
        if not chains:
            return None
        tokens, mask = found[0].copy(), found[1].copy()
        masks = mask.reshape(len(requests), nodes, nodes)
        for index, chain in chains.items():
            own = tokens[index * nodes : (index + 1) * nodes]
            own[1 : 1 + len(chain)] = chain
            # Nodes behind the chain repeat the root; they are right as seldom as any token.
            own[1 + len(chain) :] = own[0]
            masks[index] = np.tril(np.ones((nodes, nodes)))
        return tokens, mask

    @staticmethod
    def reports(requests: list["Req"]) -> list[list[dict[str, Any]]]:
        """One list a request: what became of its draft, where it has ended and had one."""
        found: list[list[dict[str, Any]]] = []
        for request in requests:
            draft = FOLLOWED_DRAFT.get(request)
            if draft is None or not request.finished():
                found.append([])
            else:
                # What a run holds after the end of the answer is not part of it.
                draft.observe(request.output_ids_through_stop)
                found.append([DraftReport(kept=draft.kept).to_meta()])
        return found


def _begin(request: "Req") -> FollowedDraft | None:
    """Begin to follow a request's draft, where it came with one."""
    if FOLLOWED_DRAFT.is_set(request):
        return None
    params = (request.sampling_params.custom_params or {}).get(ATTEMPT_KEY) or {}
    token_ids = params.get("draft")
    draft = FollowedDraft(token_ids, request.origin_input_ids) if token_ids else None
    FOLLOWED_DRAFT.set(request, draft)
    return draft
