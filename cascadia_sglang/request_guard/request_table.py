"""The table of allowed values of every request field, behind the request check.

The types are SGLang's own annotations, unless a row names a narrower one. A row adds what the
scheduler takes for granted: it slices, indexes and fills tensors with these values, unchecked.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor
from sglang.srt.sampling.sampling_params import MAX_STOP_REGEX_LEN

from cascadia_sglang.files.value_types import (
    FLOAT32_MAX,
    INT32_MAX,
    Reader,
    WrongValueError,
    integer_in,
    number_in,
    reader_of,
)
from cascadia_sglang.messages import ATTEMPT_KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the allowed values depend on.

    Attributes:
        vocabulary: token ids that every tier knows lie below it.
        max_samples: most samples of one prompt.
        max_requests: most samples of one request, all prompts together.
        labels: metric labels that a client may set; None for any, where nothing is measured.
        allows_processors: whether clients may send logit processors; if not, SGLang refuses them.
    """

    vocabulary: int
    max_samples: int
    max_requests: int
    labels: frozenset[str] | None = None
    allows_processors: bool = False


Check = Callable[[Any, Scope], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one field may hold beside the type that SGLang gives it.

    Attributes:
        reader: of a type narrower than SGLang's; None for SGLang's.
        check: raises WrongValueError for a value of the right type that is not allowed.
        refused: why no client may set the field; None where it may.
        aliases: what the routes call it.
    """

    reader: Reader | None = None
    check: Check | None = None
    refused: str | None = None
    aliases: tuple[str, ...] = ()


def token_ids(ids: Iterable[int], scope: Scope) -> None:
    if any(not 0 <= token < scope.vocabulary for token in ids):
        last = scope.vocabulary - 1
        raise WrongValueError(f"token ids from 0 to {last}, none of them out-of-vocabulary")


def _biases(biases: dict[str, float], scope: Scope) -> None:
    try:
        token_ids(map(int, biases), scope)
    except ValueError:
        last = scope.vocabulary - 1
        raise WrongValueError(f"an object whose keys are token ids from 0 to {last}") from None
    if any(abs(bias) > _MOST_BIAS for bias in biases.values()):
        raise WrongValueError(f"an object whose values are at most {_MOST_BIAS:g}, up or down")


def _below_vocabulary(count: int, scope: Scope) -> None:
    if not 0 <= count <= scope.vocabulary:
        raise WrongValueError(f"an integer from 0 to {scope.vocabulary}")


def _samples(count: int, scope: Scope) -> None:
    if not 1 <= count <= scope.max_samples:
        raise WrongValueError(f"an integer from 1 to {scope.max_samples}")


def _not_empty(texts: str | list[str], scope: Scope) -> None:
    del scope
    if any(not text for text in ([texts] if isinstance(texts, str) else texts)):
        raise WrongValueError("a string or a list of strings, none of them empty")


def _patterns(patterns: str | list[str], scope: Scope) -> None:
    _not_empty(patterns, scope)
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if len(pattern.encode()) > MAX_STOP_REGEX_LEN:
            raise WrongValueError(f"a regular expression of at most {MAX_STOP_REGEX_LEN} bytes")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise WrongValueError(f"a regular expression ({error})") from None


def _custom_params(params: dict[str, Any], scope: Scope) -> None:
    del scope
    if ATTEMPT_KEY in params:
        raise WrongValueError(f"an object without the key {ATTEMPT_KEY!r}, which the server sets")


def _labels(labels: dict[str, str], scope: Scope) -> None:
    if scope.labels is not None and not scope.labels.issuperset(labels):
        allowed = ", ".join(sorted(scope.labels)) or "none is configured"
        raise WrongValueError(f"an object with the configured metric labels alone ({allowed})")


def _logit_processor(serialised: str, scope: Scope) -> None:
    """Load it as a worker would; only where the operator lets clients send code."""
    if not scope.allows_processors:
        return
    try:
        processor = CustomLogitProcessor.from_str(serialised)
    except Exception as error:  # noqa: BLE001 (a client's pickle may raise anything)
        name = type(error).__name__
        raise WrongValueError(f"a serialised CustomLogitProcessor (loading it: {name})") from None
    if not isinstance(processor, CustomLogitProcessor):
        raise WrongValueError("a serialised CustomLogitProcessor")


def _grammar(text: str, scope: Scope) -> None:
    del scope
    if len(text) > _MOST_GRAMMAR_CHARACTERS:
        raise WrongValueError(f"a string of at most {_MOST_GRAMMAR_CHARACTERS} characters")


_COUNT = integer_in(0, INT32_MAX)
_MOST_BIAS = 1e20
# A worker compiles a grammar in a time that grows faster than its length.
_MOST_GRAMMAR_CHARACTERS = 100_000
_OTHER_MODE = "it belongs to a mode in which no cascade is served"
_INTERNAL = "the server sets it itself"
_ONE_MODEL = "embeddings are made for one model, and a cascade has several"

SAMPLING_ROWS: dict[str, Row] = {
    "max_new_tokens": Row(
        reader=_COUNT,
        aliases=("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"),
    ),
    "stop": Row(check=_not_empty, aliases=("stop_sequences",)),
    "stop_token_ids": Row(check=token_ids),
    "stop_regex": Row(check=_patterns),
    # Smaller divisors and larger factors than these overflow the logits.
    "temperature": Row(reader=number_in(0.0, FLOAT32_MAX)),
    "top_p": Row(reader=number_in(1e-30, 1.0)),
    "top_k": Row(reader=integer_in(-1, INT32_MAX)),
    "min_p": Row(reader=number_in(0.0, 1.0)),
    "frequency_penalty": Row(reader=number_in(-2.0, 2.0)),
    "presence_penalty": Row(reader=number_in(-2.0, 2.0)),
    "repetition_penalty": Row(reader=number_in(1e-6, 2.0), aliases=("repeat_penalty",)),
    "min_new_tokens": Row(reader=_COUNT, aliases=("min_tokens",)),
    "n": Row(check=_samples),
    "beam_width": Row(check=_samples),
    "json_schema": Row(check=_grammar),
    "regex": Row(check=_grammar),
    "ebnf": Row(check=_grammar),
    "structural_tag": Row(check=_grammar),
    "ignore_eos": Row(),
    "skip_special_tokens": Row(),
    "spaces_between_special_tokens": Row(),
    "no_stop_trim": Row(),
    "stream_interval": Row(reader=integer_in(1, INT32_MAX)),
    "logit_bias": Row(check=_biases),
    "sampling_seed": Row(aliases=("seed",)),
    # What is in it is for the client's logit processor; SGLang checks its own keys.
    "custom_params": Row(reader=reader_of(dict[str, Any]), check=_custom_params),
    "watermark": Row(reader=reader_of(dict[str, Any])),
    "stop_strs": Row(refused=_INTERNAL),
    "stop_regex_strs": Row(refused=_INTERNAL),
    "stop_str_max_len": Row(refused=_INTERNAL),
    "stop_regex_max_len": Row(refused=_INTERNAL),
    "is_normalized": Row(refused=_INTERNAL),
    # SGLang's chat route sets it.
    "ebnf_full_assistant": Row(),
}

SESSION_ROWS: dict[str, Row] = {
    "id": Row(),
    "rid": Row(),
    "offset": Row(reader=_COUNT),
    "replace": Row(),
    "drop_previous_output": Row(),
}

REQUEST_ROWS: dict[str, Row] = {
    "rid": Row(),
    "session_id": Row(),
    "text": Row(aliases=("prompt",)),
    "input_ids": Row(aliases=("prompt",)),
    "input_embeds": Row(refused=_ONE_MODEL),
    "image_data": Row(),
    "video_data": Row(),
    "audio_data": Row(),
    "mm_hashes": Row(),
    "mm_content_hashes": Row(),
    "use_audio_in_video": Row(),
    "video_config": Row(),
    "sampling_params": Row(),
    "watermark": Row(),
    "return_logprob": Row(),
    "logprob_start_len": Row(reader=integer_in(-1, INT32_MAX)),
    "top_logprobs_num": Row(check=_below_vocabulary, aliases=("logprobs", "top_logprobs")),
    "token_ids_logprob": Row(check=token_ids),
    "return_sampling_mask": Row(),
    "sampling_logprobs_mode": Row(),
    "return_text_in_logprobs": Row(),
    "return_flat_raw_top_logprobs": Row(),
    "return_flat_raw_output_top_logprobs": Row(),
    "return_flat_raw_top_logprobs_b64": Row(),
    "stream": Row(),
    "log_metrics": Row(),
    "return_hidden_states": Row(),
    "return_routed_experts": Row(),
    "routed_experts_start_len": Row(reader=_COUNT),
    "return_indexer_topk": Row(),
    "modalities": Row(),
    "session_params": Row(),
    "lora_path": Row(),
    "lora_id": Row(refused=_INTERNAL),
    "custom_logit_processor": Row(check=_logit_processor),
    "positional_embed_overrides": Row(refused=_ONE_MODEL),
    "bootstrap_host": Row(),
    "bootstrap_port": Row(),
    "bootstrap_room": Row(reader=integer_in(0, 2**63 - 1)),
    "bootstrap_pair_key": Row(),
    "decode_tp_size": Row(),
    "routed_dp_rank": Row(),
    "data_parallel_rank": Row(),
    "disagg_prefill_dp_rank": Row(),
    "routing_key": Row(),
    "conversation_id": Row(),
    "http_worker_ipc": Row(refused=_INTERNAL),
    "background": Row(),
    "require_reasoning": Row(),
    "max_thinking_tokens": Row(reader=_COUNT),
    "priority": Row(),
    "extra_key": Row(),
    "no_logs": Row(),
    "custom_labels": Row(check=_labels),
    "return_bytes": Row(),
    "return_entropy": Row(),
    "return_prompt_token_ids": Row(),
    "external_trace_header": Row(),
    "received_time": Row(reader=number_in(0.0, 1e12)),
    "need_wait_for_mm_inputs": Row(refused=_OTHER_MODE),
    "num_items_assigned": Row(refused=_OTHER_MODE),
    "encoder_urls": Row(refused=_OTHER_MODE),
    "max_dynamic_patch": Row(),
    "min_dynamic_patch": Row(),
    "image_max_dynamic_patch": Row(),
    "video_max_dynamic_patch": Row(),
    "images_config": Row(),
    "mm_processor_kwargs": Row(),
    # Where they lie in the prompt is checked with it.
    "multi_item_delimiter_indices": Row(),
    "token_indices_to_pool": Row(),
    "cache_salt": Row(),
    "kv_hints": Row(),
}
