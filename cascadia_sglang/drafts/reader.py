"""Has an engine worker read drafts: a request begins as if it had written its draft already.

SGLang prefills a retracted request with the output it had before; a request with a draft enters the
queue looking like one. The forward that computes the draft's KV also tells what the model prefers
at each of its places, and the request's next token is sampled from the logits of the place at which
the model's own answer parts from the draft. Before the next batch is made, what comes after that
place is taken back with its KV. Streaming, stop tokens, limits and usage stay SGLang's.

The next batch cannot be made earlier: SGLang allots KV slots to its tokens on the host, by the
lengths of its requests, and a page may begin at any of them. Nothing waits for the device before
that, with two exceptions: a draft that the second judge rates, whose score decides what is sampled,
and more places than `CHUNK_ROWS`.
"""

import logging
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from sglang.srt.layers.logits_processor import LogitsMetadata
from sglang.srt.managers.schedule_batch import FINISH_ABORT

from cascadia_sglang.drafts.batch_parts import LiveBatch
from cascadia_sglang.drafts.comparer import DraftComparer
from cascadia_sglang.drafts.draft import Draft, known_tokens, until_end
from cascadia_sglang.drafts.rollback import (
    end_ids,
    failed_on_any_rank,
    roll_back,
    shorten,
    takes_drafts,
)
from cascadia_sglang.drafts.second_judge import DraftJudge
from cascadia_sglang.drafts.session import DraftSession
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from cascadia_sglang.sglang_state import DRAFT_READING

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
    from sglang.srt.managers.scheduler import Scheduler
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch

logger = logging.getLogger(__name__)


class DraftReader:
    """The drafts of one worker, from the queue to the token after the last one that was kept."""

    def __init__(self, judge: Judge | None, second: DraftJudge) -> None:
        """`judge` is told of what is kept; None for a worker that has none. `second` is shown whole
        drafts."""
        self._judge = judge
        self._comparer = DraftComparer(judge, second)
        self._unread: WeakValueDictionary[str, DraftSession] = WeakValueDictionary()
        self._live: LiveBatch | None = None
        self._scheduler: Any = None
        self._takes_drafts = False

    def begin(self, scheduler: "Scheduler", request: "Req") -> None:
        """Give a request that is about to wait its draft as output, where it came with one."""
        params = (request.sampling_params.custom_params or {}).get(ATTEMPT_KEY) or {}
        token_ids = params.get("draft")
        if not token_ids or request.output_ids or DRAFT_READING.is_set(request):
            return
        if self._scheduler is None:
            self._scheduler = scheduler
            self._takes_drafts = takes_drafts(scheduler)
        # The last token that may be written is left for the decode after it.
        most = request.sampling_params.max_new_tokens - 1
        ends = end_ids(request)
        token_ids = until_end(known_tokens(token_ids, request.vocab_size), ends, most)
        if not self._takes_drafts or not token_ids:
            return
        reading = DraftSession(
            Draft(len(request.origin_input_ids), token_ids),
            AttemptOrder.from_params(params),
            is_whole=token_ids[-1] in ends,
        )
        DRAFT_READING.set(request, reading)
        self._unread[request.rid] = reading
        request.output_ids = array("q", token_ids)
        # A chunk in the middle must not go into the prefix cache: what the cache owns cannot be
        # taken back.
        reading.skips_prefix_cache = request.skip_radix_cache_insert
        request.skip_radix_cache_insert = True

    @staticmethod
    def cached_limit(request: "Req", cached: int) -> int:
        """How much of a request may come from the prefix cache: a draft must be computed."""
        reading = DRAFT_READING.get(request)
        if reading is None or reading.draft.is_settled:
            return cached
        return min(cached, reading.draft.prompt_tokens - 1)

    def note_batch(self, live_batch: "ForwardBatch") -> None:
        """Remember whose tokens the next forward computes.

        A CUDA-graph runner hands `read` a batch of its own, which lacks the request ids.
        """
        self._live = None
        if self._unread and live_batch.rids is not None and live_batch.forward_mode.is_extend():
            self._live = LiveBatch(
                live_batch.rids,
                live_batch.extend_prefix_lens_cpu or (),
                live_batch.extend_seq_lens_cpu or (),
            )

    def read(
        self,
        output: Any,
        processor: Any,
        hidden_states_TD: torch.Tensor,
        lm_head: Any,
        forward_batch: "ForwardBatch",
    ) -> None:
        """Compare a batch's drafts with what the model prefers, and set the logits to sample from.

        Never raises, for the batch is others' too. `settle` ends a request whose draft was not
        read, and the router runs it again without its draft.

        Args:
            output: of SGLang's `LogitsProcessor`, which `processor` is; changed in place.
            hidden_states_TD: of all tokens of the batch.
        """
        live, self._live = self._live, None
        if live is None:
            return
        self._comparer.collect_results()
        try:
            parts = live.parts(self._unread, len(hidden_states_TD))
            if not parts:
                return
            metadata = LogitsMetadata.from_forward_batch(forward_batch)

            def logits_of(hidden_nD: torch.Tensor) -> torch.Tensor:
                logits_nV: torch.Tensor = processor._get_logits(
                    hidden_nD, lm_head, metadata, use_logits_buffer=False
                )
                return logits_nV

            with _entry_barrier(processor):
                self._comparer.compare(parts, hidden_states_TD, logits_of)
            for part in parts:
                logits_V = part.reading.logits_to_sample()
                if part.is_last and logits_V is not None:
                    output.next_token_logits[part.index].copy_(logits_V)
        except Exception:
            logger.exception("the drafts of a batch were not read")
            self._comparer.drop()
            for reading in map(self._unread.get, live.rids):
                if reading is not None:
                    reading.has_failed = True

    def settle_relayed(self, scheduler: "Scheduler", batch: "ScheduleBatch") -> None:
        """Settle a batch whose tokens are handed on, where nothing runs beside its forward."""
        if not scheduler.enable_overlap:
            self.settle(scheduler, batch)

    def settle(self, scheduler: "Scheduler", batch: "ScheduleBatch | None") -> None:
        """Take back what a batch's requests would not have written.

        Runs after the forward is launched and before the next batch is made; in an overlapped loop
        after the results of the batch before are out.
        """
        if not self._unread or batch is None or not batch.forward_mode.is_extend():
            return
        ready = [
            (index, request, reading)
            for index, request in enumerate(batch.reqs)
            if (reading := self._unread.get(request.rid)) is not None
        ]
        if not ready:
            return
        if any(_is_computed(request) for _, request, _ in ready):
            self._comparer.collect_results()
        failed = failed_on_any_rank(
            scheduler,
            [
                reading.has_failed or (_is_computed(request) and reading.next_logits_V is None)
                for _, request, reading in ready
            ],
        )
        cut = [0] * len(batch.reqs)
        for (index, request, reading), has_failed in zip(ready, failed, strict=True):
            reading.has_failed = has_failed
            if _is_computed(request):
                cut[index] = self._settle_request(scheduler, request, reading)
        if any(cut):
            shorten(batch, cut)

    def _settle_request(self, scheduler: "Scheduler", request: "Req", reading: DraftSession) -> int:
        """Let a request go on from its draft; how many tokens it is shorter by."""
        draft = reading.draft
        draft.is_settled = True
        request.skip_radix_cache_insert = reading.skips_prefix_cache
        del self._unread[request.rid]
        if reading.has_failed:
            request.to_finish = FINISH_ABORT("the draft was not read", 500)
            return 0
        roll_back(scheduler, request, draft)
        self._tell_judge(request, reading)
        reading.forget_steps()
        return len(draft.token_ids) - draft.agreed

    def _tell_judge(self, request: "Req", reading: DraftSession) -> None:
        if self._judge is None:
            return
        draft = reading.draft
        for places, step in reading.steps:
            agreed = draft.token_ids[places.start : min(places.stop, draft.agreed)]
            self._judge.fold_draft(request, step, agreed)

    @staticmethod
    def reports(requests: list["Req"]) -> list[list[dict[str, Any]]]:
        """One list a request: what became of its draft, where it has ended and had one."""
        reports: list[list[dict[str, Any]]] = []
        for request in requests:
            reading = DRAFT_READING.get(request)
            if reading is None or not request.finished() or not reading.draft.is_settled:
                reports.append([])
            else:
                reports.append([reading.report().to_meta()])
        return reports


def _is_computed(request: "Req") -> bool:
    """Whether a request's prefill has come to its end: the last of its chunks is launched."""
    computed: int = request.extend_end
    return computed >= len(request.full_untruncated_fill_ids)


@contextmanager
def _entry_barrier(processor: Any) -> Iterator[None]:
    """Have all ranks of a worker meet before they gather logits.

    SGLang gathers without it, into one buffer that all ranks write to: between two of its forwards
    the ranks meet anyway. Here a rank may still read what `LogitsProcessor.forward` has gathered.
    """
    gatherer = processor._logits_gatherer
    skips = gatherer._skip_entry_sync
    gatherer._skip_entry_sync = False
    try:
        yield
    finally:
        gatherer._skip_entry_sync = skips
