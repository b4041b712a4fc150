"""SGLang's request objects: split by prompt, as the prefix caches see them, and as tiers do."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.errors import RequestError
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.sglang_state import PROMPT

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager


def prompt_of(sample: GenerateReqInput) -> Prompt | None:
    """A tokenised sample's prompt; None where its cache entries are not the tokens' alone.

    What SGLang caches under an adapter, a salt or a key of the client's, it keeps apart; in a
    session the tokens come after others.
    """
    if sample.input_ids is None or sample.contains_mm_input() or sample.session_params:
        return None
    if sample.lora_path or sample.extra_key or sample.cache_salt:
        return None
    # One prompt's samples and tiers share the tokens, and so their hashes.
    prompt = PROMPT.get(sample)
    if prompt is None:
        prompt = Prompt(sample.input_ids)
        PROMPT.set(sample, prompt)
    return prompt


def shared_prompt(samples: Sequence[GenerateReqInput]) -> Prompt | None:
    """Likewise of all samples of a prompt, which hash it once."""
    prompt = prompt_of(samples[0])
    for sample in samples[1:]:
        PROMPT.set(sample, prompt)
    return prompt


def split_request(
    request: GenerateReqInput, manager: TokenizerManager
) -> list[list[GenerateReqInput]]:
    """Normalise a request, in place; the samples of every prompt, each a request of its own.

    Raises:
        RequestError: 400 for fields that do not fit each other.
    """
    try:
        request.normalize_batch_and_arguments()
        manager._set_default_priority(request)
        return _samples_of(request)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        # SGLang takes for granted that a batch has one value a prompt everywhere.
        message = f"the fields of the request do not fit each other: {error}"
        raise RequestError(400, message) from error


def _samples_of(request: GenerateReqInput) -> list[list[GenerateReqInput]]:
    if request.is_single:
        return [[request]]
    # SGLang repeats the whole batch once a sample; its answers group by prompt.
    prompts, samples = request.batch_size, request.parallel_sample_num
    if len(request.rid) < prompts * samples:
        # A client's own list names the prompts.
        request.rid = [f"{rid}_{sample}" for sample in range(samples) for rid in request.rid]
    return [
        [request[sample * prompts + prompt] for sample in range(samples)]
        for prompt in range(prompts)
    ]


def attempt_of(
    sample: GenerateReqInput, rid: str, order: AttemptOrder, tier: TierConfig
) -> GenerateReqInput:
    """A sample as a tier's worker is asked it, not streamed; its prompt is the sample's."""
    attempt = copy.copy(sample)
    attempt.rid = rid
    attempt.stream = False
    params = {**sample.sampling_params, **tier.sampling, "n": 1}
    custom = params.get("custom_params") or {}
    params["custom_params"] = {**custom, ATTEMPT_KEY: order.to_params()}
    attempt.sampling_params = params
    if order.traceparent is not None:
        attempt.external_trace_header = {"traceparent": order.traceparent}
    return attempt


def shape_of(sample: GenerateReqInput) -> str:
    """Lengths and names of what a sample sets, for a log: nothing of its content."""
    length = len(sample.input_ids) if sample.input_ids is not None else None
    plain = GenerateReqInput()
    fields = sorted(
        name
        for name, value in vars(sample).items()
        if not name.startswith("_") and value is not None and value != getattr(plain, name, None)
    )
    params = sorted(sample.sampling_params or {})
    return f"{length} prompt tokens, fields {', '.join(fields)}; sampling {', '.join(params)}"
