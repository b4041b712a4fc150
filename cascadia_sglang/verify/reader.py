"""Has an engine worker read drafts: a request begins as if it had written its draft already.

SGLang prefills a retracted request with the output it had before; a request with a draft enters the
queue looking like one. The forward that computes the draft's KV also tells what the model prefers
at each of its places, and the request's next token is sampled from the logits of the place at which
the model's own answer parts from the draft. Before the next batch is made, what comes after that
place is taken back with its KV. Streaming, stop tokens, limits and usage stay SGLang's.
"""

import logging
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from sglang.srt.layers.logits_processor import LogitsMetadata
from sglang.srt.managers.schedule_batch import FINISH_ABORT

from cascadia_sglang.judge.judge import Judge, Step
from cascadia_sglang.judge.observer import draft_step
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from cascadia_sglang.verify.compare import Compared, compare
from cascadia_sglang.verify.confirm import DraftJudge
from cascadia_sglang.verify.draft import Draft, until_end
from cascadia_sglang.verify.reading import Reading

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
    from sglang.srt.managers.scheduler import Scheduler
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch

logger = logging.getLogger(__name__)

# Attribute of SGLang's `Req` that holds its `Reading`.
_ATTRIBUTE = "_cascadia_draft"

# Caches in which a request's last tokens can be given back one by one.
_ALLOCATORS = ("TokenToKVPoolAllocator", "PagedTokenToKVPoolAllocator")


@dataclass(frozen=True, slots=True)
class _Part:
    """What a batch computes of a draft.

    Attributes:
        index: of the request in the batch.
        places: of the draft.
        rows: of the batch's hidden states, where these places are told.
    """

    index: int
    reading: Reading
    places: range
    rows: range


class DraftReader:
    """The drafts of one worker, from the queue to the token after the last one that was kept."""

    def __init__(self, judge: Judge | None, second: DraftJudge) -> None:
        """`judge` is told of what is kept; None for a worker that has none. `second` is shown whole
        drafts."""
        self._judge = judge
        self._second = second
        self._told_of_failures = judge or Judge({})
        self._unread: WeakValueDictionary[str, Reading] = WeakValueDictionary()
        self._scheduler: Any = None
        self._takes_drafts = False

    def begin(self, scheduler: "Scheduler", request: "Req") -> None:
        """Give a request that is about to wait its draft as output, where it came with one."""
        params = (request.sampling_params.custom_params or {}).get(ATTEMPT_KEY) or {}
        token_ids = params.get("draft")
        if not token_ids or request.output_ids or hasattr(request, _ATTRIBUTE):
            return
        if self._scheduler is None:
            self._scheduler = scheduler
            self._takes_drafts = takes_drafts(scheduler)
        # The last token that may be written is left for the decode after it.
        most = request.sampling_params.max_new_tokens - 1
        ends = _end_ids(request)
        token_ids = until_end(token_ids, ends, most)
        if not self._takes_drafts or not token_ids:
            return
        reading = Reading(
            Draft(len(request.origin_input_ids), token_ids),
            AttemptOrder.from_params(params),
            is_whole=token_ids[-1] in ends,
        )
        setattr(request, _ATTRIBUTE, reading)
        self._unread[request.rid] = reading
        request.output_ids = array("q", token_ids)
        # A chunk in the middle must not go into the prefix cache: what the cache owns cannot be
        # taken back.
        reading.is_kept_apart = request.skip_radix_cache_insert
        request.skip_radix_cache_insert = True

    @staticmethod
    def cached_limit(request: "Req", found: int) -> int:
        """How much of a request may come from the prefix cache: a draft must be computed."""
        reading: Reading | None = getattr(request, _ATTRIBUTE, None)
        if reading is None or reading.draft.is_settled:
            return found
        return min(found, reading.draft.prompt_tokens - 1)

    def read(
        self,
        output: Any,
        processor: Any,
        hidden_states_TD: torch.Tensor,
        lm_head: Any,
        forward_batch: "ForwardBatch",
    ) -> None:
        """Compare a batch's drafts with what the model prefers, and set the logits to sample from.

        Args:
            output: of SGLang's `LogitsProcessor`, which `processor` is; changed in place.
            hidden_states_TD: of all tokens of the batch.
        """
        if not self._unread or not forward_batch.forward_mode.is_extend():
            return
        found = self._in_batch(forward_batch)
        if not found:
            return
        told = [one for one in found if one.rows]
        try:
            if told:
                rows = [row for one in told for row in one.rows]
                logits_NV = processor._get_logits(
                    hidden_states_TD[rows],
                    lm_head,
                    LogitsMetadata.from_forward_batch(forward_batch),
                    use_logits_buffer=False,
                )
                drafts = [one.reading.draft.at(one.places) for one in told]
                for one, compared in zip(told, compare(logits_NV, drafts), strict=True):
                    self._take_in(one.reading, one.places, compared)
            for one in found:
                if one.reading.next_logits_V is not None:
                    output.next_token_logits[one.index] = one.reading.next_logits_V
        except Exception:
            # The batch is others' too. What was not read whole is not read: `settle` ends it, and
            # the router runs it again without its draft.
            logger.exception("the drafts of a batch were not read")
            for one in found:
                one.reading.next_logits_V = None

    def _in_batch(self, forward_batch: "ForwardBatch") -> list[_Part]:
        """The drafts of which a batch computes something, be it the last token alone."""
        found: list[_Part] = []
        start = 0
        for index, (rid, prefix, length) in enumerate(
            zip(
                forward_batch.rids or (),
                forward_batch.extend_prefix_lens_cpu or (),
                forward_batch.extend_seq_lens_cpu or (),
                strict=True,
            )
        ):
            reading = self._unread.get(rid)
            if reading is not None:
                places = reading.draft.places(prefix, length)
                shift = start + reading.draft.prompt_tokens - 1 - prefix
                if places or reading.next_logits_V is not None:
                    rows = range(places.start + shift, places.stop + shift)
                    found.append(_Part(index, reading, places, rows))
            start += length
        return found

    def _take_in(self, reading: Reading, places: range, compared: Compared) -> None:
        step: Step | None = None
        if self._judge is not None or self._second.wants(reading.order):
            step = draft_step(compared.logits_nV, compared.values_nD, self._told_of_failures)
        reading.take_in(places, compared, step)
        if places.stop == len(reading.draft.token_ids):
            try:
                reading.rate(self._second)
            except Exception as error:  # noqa: BLE001  a draft that is not rated is still read
                self._told_of_failures.report_failure(error)

    def settle(self, scheduler: "Scheduler", batch: "ScheduleBatch") -> None:
        """Take back what a batch's requests would not have written.

        Runs after the forward and before its tokens are handed to the next batch.
        """
        if not self._unread or not batch.forward_mode.is_extend():
            return
        cut = [0] * len(batch.reqs)
        for index, request in enumerate(batch.reqs):
            reading = self._unread.get(request.rid)
            if reading is None or request.extend_end < len(request.full_untruncated_fill_ids):
                continue  # of a prompt that is prefilled in chunks, the last one is yet to come
            draft = reading.draft
            draft.is_settled = True
            request.skip_radix_cache_insert = reading.is_kept_apart
            del self._unread[request.rid]
            if reading.next_logits_V is None:
                request.to_finish = FINISH_ABORT("the draft was not read", 500)
                continue
            cut[index] = len(draft.token_ids) - draft.agreed
            _take_back(scheduler, request, draft)
            self._tell_judge(request, reading)
            reading.steps.clear()
            reading.next_logits_V = None
        if any(cut):
            _shorten(batch, cut)

    def _tell_judge(self, request: "Req", reading: Reading) -> None:
        if self._judge is None:
            return
        draft = reading.draft
        for places, step in reading.steps:
            kept = draft.token_ids[places.start : min(places.stop, draft.agreed)]
            self._judge.fold_draft(request, step, kept)

    @staticmethod
    def reports(requests: list["Req"]) -> list[list[dict[str, Any]]]:
        """One list a request: what became of its draft, where it has ended and had one."""
        found: list[list[dict[str, Any]]] = []
        for request in requests:
            reading: Reading | None = getattr(request, _ATTRIBUTE, None)
            if reading is None or not request.finished() or not reading.draft.is_settled:
                found.append([])
            else:
                found.append([reading.report().to_meta()])
        return found


def takes_drafts(scheduler: "Scheduler") -> bool:
    """Whether this worker can take tokens back: its KV is one plain pool, in one stage."""
    tree_cache: Any = scheduler.tree_cache
    return (
        scheduler.server_args.pp_size == 1
        and type(scheduler.token_to_kv_pool_allocator).__name__ in _ALLOCATORS
        and scheduler.spec_algorithm.is_none()
        and not tree_cache.supports_mamba()
        and not tree_cache.supports_swa()
        and not scheduler.model_config.is_encoder_decoder
    )


def _end_ids(request: "Req") -> frozenset[int]:
    """The tokens that end the request's answer."""
    ends = set(request.eos_token_ids or ()) | set(request.sampling_params.stop_token_ids or ())
    tokenizer = request.tokenizer
    if tokenizer is not None:
        ends |= {tokenizer.eos_token_id, *(tokenizer.additional_stop_token_ids or ())}
    return frozenset(end for end in ends if end is not None)


def _take_back(scheduler: "Scheduler", request: "Req", draft: Draft) -> None:
    """Leave a request its prompt and what it keeps of its draft, and free the KV of the rest."""
    end = draft.prompt_tokens + draft.agreed
    computed = request.extend_end
    page = scheduler.token_to_kv_pool_allocator.page_size
    first_freed = -(-end // page) * page
    if first_freed < computed:
        slots = scheduler.req_to_token_pool.req_to_token[request.kv.req_pool_idx]
        scheduler.token_to_kv_pool_allocator.free(slots[first_freed:computed])
    request.output_ids = array("q", draft.token_ids[: draft.agreed])
    request.full_untruncated_fill_ids = request.full_untruncated_fill_ids[:end]
    request.extend_end = end
    request.kv.kv_committed_len = request.kv.kv_allocated_len = end


def _shorten(batch: "ScheduleBatch", cut: list[int]) -> None:
    """Say of each of a batch's requests that it is shorter by so many tokens."""
    cut_B = torch.tensor(cut)
    on_device_B = cut_B.to(batch.device)
    # New tensors: the forward that was just launched holds the old ones.
    batch.seq_lens = batch.seq_lens - on_device_B
    batch.orig_seq_lens = batch.orig_seq_lens - on_device_B.to(batch.orig_seq_lens.dtype)
    if batch.seq_lens_cpu is not None:
        batch.seq_lens_cpu = batch.seq_lens_cpu - cut_B
    if batch.seq_lens_sum is not None:
        batch.seq_lens_sum -= sum(cut)
    if on_device_B.device.type != "cpu":
        # The scheduler reads these on another stream than the forward's, which this runs on.
        torch.get_device_module(on_device_B.device).current_stream().synchronize()
