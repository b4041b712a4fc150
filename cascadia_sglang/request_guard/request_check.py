"""The check of a request before any worker sees it, by the table in `request_table`.

SGLang's scheduler takes a request's values for what their annotations say and ends where one is
not. So each is checked here, and what JSON writes in another way is read as SGLang wants it.
"""

import dataclasses
from array import array
from typing import Any

import numpy as np
from sglang.srt.managers.io_struct import GenerateReqInput, SessionParams

from cascadia_sglang.errors import RequestError
from cascadia_sglang.files.value_types import shown
from cascadia_sglang.request_guard.field_reader import (
    Field,
    fields_of,
    read_object,
    struct_defaults,
)
from cascadia_sglang.request_guard.request_table import REQUEST_ROWS, SESSION_ROWS, Scope
from cascadia_sglang.request_guard.sampling_check import read_sampling

_REQUEST_FIELDS = fields_of(
    GenerateReqInput,
    {field.name: field.default for field in dataclasses.fields(GenerateReqInput)},
    REQUEST_ROWS,
    may_be_batch=True,
)
_SESSION_FIELDS = fields_of(
    SessionParams, struct_defaults(SessionParams), SESSION_ROWS, may_be_batch=False
)
_TEXT = _REQUEST_FIELDS["text"]
_IDS = _REQUEST_FIELDS["input_ids"]
_SAMPLING = _REQUEST_FIELDS["sampling_params"]
# Read apart from the others, since those depend on them.
_OTHERS = [
    (name, field.default, field)
    for name, field in _REQUEST_FIELDS.items()
    if name not in ("text", "input_ids", "sampling_params")
]


def check_request(request: GenerateReqInput, scope: Scope) -> None:
    """Check a request that was not normalised yet; reads 8.0 as 8 and null as not given, in place.

    Raises:
        RequestError: 400 that names the field, its value and what is allowed.
    """
    prompts = _check_prompts(request, scope)
    samples = _read_sampling(request, prompts, scope)
    # SGLang takes a lone prompt of several samples for a batch of one.
    is_batch = prompts is not None or samples > 1
    count = prompts or 1
    if count * samples > scope.max_requests:
        most = f"at most {scope.max_requests} samples in one request"
        raise RequestError(400, f"allowed are {most}, got {count} prompts with n = {samples}", "n")
    values = vars(request)
    for name, default, field in _OTHERS:
        value = values[name]
        if value is default:
            continue
        if is_batch:
            values[name] = field.read_all(value, count, scope)
        else:
            values[name] = field.read(value, scope)
    if request.session_params:
        request.session_params = read_object(
            request.session_params, "session_params", _SESSION_FIELDS, scope
        )
    if request.multi_item_delimiter_indices is not None:
        _check_positions(request, "multi_item_delimiter_indices")
    if request.token_indices_to_pool is not None:
        _check_positions(request, "token_indices_to_pool")


def check_ids(ids: list[int], scope: Scope, name: str = "input_ids") -> None:
    """Check a prompt's token ids by their extremes: the worker looks each up in a table.

    Raises:
        RequestError: 400 that names the first that the vocabulary does not hold.
    """
    # As unsigned 32-bit numbers, a negative id, a larger one and any other type raise.
    try:
        largest = np.frombuffer(array("I", ids), dtype=np.uint32).max()
    except (TypeError, OverflowError, ValueError):
        largest = scope.vocabulary
    if largest >= scope.vocabulary:
        wrong = next((token for token in ids if not _is_token(token, scope)), ids)
        allowed = f"token ids from 0 to {scope.vocabulary - 1}"
        raise RequestError(400, f"{name} must hold {allowed}, got {shown(wrong)}", name)


def _is_token(value: Any, scope: Scope) -> bool:
    return isinstance(value, int) and 0 <= value < scope.vocabulary


def _check_prompts(request: GenerateReqInput, scope: Scope) -> int | None:
    """How many prompts a batch has; None for a request of one."""
    text, ids = request.text, request.input_ids
    if text is not None:
        if ids is not None:
            raise RequestError(400, "allowed is one of text and input_ids, got both", "text")
        if isinstance(text, list):
            _check_count(_TEXT, text, scope)
            request.text = _TEXT.read_all(text, len(text), scope)
            return len(text)
        _TEXT.read(text, scope)
        return None
    if ids is None:
        # SGLang says what is missing, or the field's row refuses what is given in its place.
        return None
    if isinstance(ids, list) and ids and isinstance(ids[0], list):
        _check_count(_IDS, ids, scope)
        for row in ids:
            if not isinstance(row, list) or not row:
                raise _IDS.wrong(row, "a list of lists of token ids, none of them empty")
            check_ids(row, scope)
        return len(ids)
    if not isinstance(ids, list):
        raise _IDS.wrong(ids, "a list of token ids, or a list of such lists")
    # A session's history may be the whole prompt; without one, SGLang refuses an empty prompt.
    if ids:
        check_ids(ids, scope)
    return None


def _check_count(field: Field, prompts: list[Any], scope: Scope) -> None:
    if not prompts:
        raise field.wrong(prompts, "one prompt, or a list of them that is not empty")
    if len(prompts) > scope.max_requests:
        message = f"allowed are at most {scope.max_requests} prompts, got {len(prompts)}"
        raise RequestError(400, message, field.name)


def _read_sampling(request: GenerateReqInput, prompts: int | None, scope: Scope) -> int:
    """Read the sampling parameters in place; how many samples of each prompt they ask for."""
    sampling = request.sampling_params
    if sampling is None:
        return 1
    if not isinstance(sampling, list):
        params = read_sampling(sampling, scope)
        request.sampling_params = params
        return _count_samples(params)
    if len(sampling) != prompts:
        allowed = "an object" if prompts is None else f"an object, or a list of {prompts}"
        raise _SAMPLING.wrong(sampling, allowed)
    every = [read_sampling(params, scope) for params in sampling]
    request.sampling_params = every
    return max(map(_count_samples, every))


def _count_samples(params: dict[str, Any]) -> int:
    # The sequences of a beam search are one sample's.
    return 1 if params.get("beam_width", 1) > 1 else params.get("n", 1)


def _check_positions(request: GenerateReqInput, name: str) -> None:
    """Positions that scores are read at: each lies in its prompt, of which nothing is generated."""
    field, prompts = _REQUEST_FIELDS[name], request.input_ids
    positions = getattr(request, name)
    if not prompts:
        raise RequestError(400, f"{name} is only allowed with input_ids", name)
    if not isinstance(prompts[0], list):
        prompts, positions = [prompts], [positions]
    elif not positions or not isinstance(positions[0], list):
        raise field.wrong(positions, "a list of lists, one a prompt")
    every = request.sampling_params
    every = every if isinstance(every, list) else [every or {}]
    if any(params.get("max_new_tokens") != 0 for params in every):
        raise RequestError(400, f"{name} is only allowed with max_new_tokens = 0", name)
    for prompt, places in zip(prompts, positions, strict=True):
        if not places or any(not 0 <= position < len(prompt) for position in places):
            raise field.wrong(places, f"positions from 0 to {len(prompt) - 1}, at least one")
