"""Which requests hold token ids, field by field."""

from types import SimpleNamespace
from typing import Any

import pytest
from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.engine.id_fields import (
    CHAT_FIELDS,
    REQUEST_FIELDS,
    SAMPLING_FIELDS,
    bears_ids,
)
from cascadia_sglang.engine.prompt_forms import ChatSource
from cascadia_sglang.request_guard.request_table import REQUEST_ROWS, SAMPLING_ROWS
from cascadia_sglang.router.engine_protocol import Refusal
from cascadia_sglang.sglang_state import CHAT_SOURCE
from tests.unit.engine.test_voiced_prompts import make

VALUES: dict[str, Any] = {
    "input_ids": [1, 2],
    "token_ids_logprob": [3],
    "session_params": {"id": "s"},
    "custom_logit_processor": "{}",
    "multi_item_delimiter_indices": [1],
    "token_indices_to_pool": [0],
    "logit_bias": {"5": 1.0},
    "stop_token_ids": [7],
}


def request(**fields: Any) -> GenerateReqInput:
    prompt = {} if "input_ids" in fields else {"text": "a"}
    return GenerateReqInput(**{**prompt, **fields})


def chat(**fields: Any) -> ChatSource:
    plain = dict.fromkeys(CHAT_FIELDS)
    return ChatSource(
        request=SimpleNamespace(**{**plain, **fields}),
        http_request=None,
        convert=lambda *_: (GenerateReqInput(), None),
    )


@pytest.mark.parametrize("field", REQUEST_FIELDS)
def test_a_request_with_ids_in_a_field_bears_ids(field: str) -> None:
    assert bears_ids(request(**{field: VALUES[field]}), None)
    batch = request(**{field: [None, VALUES[field]]})
    assert bears_ids(batch, None)


@pytest.mark.parametrize("field", SAMPLING_FIELDS)
def test_sampling_parameters_with_ids_bear_ids(field: str) -> None:
    assert bears_ids(request(sampling_params={field: VALUES[field]}), None)
    assert bears_ids(request(sampling_params=[{}, {field: VALUES[field]}]), None)


@pytest.mark.parametrize("field", CHAT_FIELDS)
def test_a_chat_with_ids_in_a_field_bears_ids(field: str) -> None:
    """Whatever SGLang made of it: its prompt is ids."""
    assert bears_ids(request(input_ids=[1]), chat(**{field: VALUES[field]}))


def test_texts_bear_no_ids() -> None:
    empty = {"logit_bias": {}, "stop_token_ids": [], "stop": ["."], "temperature": 0.5}
    assert not bears_ids(request(sampling_params=empty), None)
    assert not bears_ids(request(sampling_params=None), None)
    assert not bears_ids(request(text=["a", "b"], token_ids_logprob=[None, None]), None)


def test_a_chat_bears_none_though_its_prompt_is_ids() -> None:
    made = request(input_ids=[1], sampling_params={"stop_token_ids": [2]})
    assert not bears_ids(made, chat())


def test_every_field_of_ids_is_known() -> None:
    """A field that is named after ids or tokens, and is not in the tables, has a reason here."""
    named = {
        name
        for name in (*REQUEST_ROWS, *SAMPLING_ROWS)
        if "token" in name or "ids" in name or "logit" in name
    }
    counts_and_switches = {
        "max_new_tokens",
        "min_new_tokens",
        "max_thinking_tokens",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        # What is returned is of the tier that answers.
        "return_prompt_token_ids",
    }
    assert named - counts_and_switches <= {*REQUEST_FIELDS, *SAMPLING_FIELDS}


@pytest.mark.parametrize("field", [*REQUEST_FIELDS, *SAMPLING_FIELDS])
def test_a_request_with_ids_visits_the_tiers_of_its_tokenizer_alone(field: str) -> None:
    fields = {field: VALUES[field]}
    made = request(**fields) if field in REQUEST_FIELDS else request(sampling_params=fields)
    assert refusals(made) == [None, None, Refusal.OTHER_TOKENIZER]


@pytest.mark.parametrize("field", CHAT_FIELDS)
def test_a_chat_with_ids_visits_the_tiers_of_its_tokenizer_alone(field: str) -> None:
    made = request(input_ids=[1])
    CHAT_SOURCE.set(made, chat(**{field: VALUES[field]}))
    assert refusals(made) == [None, None, Refusal.OTHER_TOKENIZER]


def refusals(made: GenerateReqInput) -> list[Refusal | None]:
    """Why tiers cannot be asked: two of one tokenizer, and one of another."""
    prompts, _ = make()
    ((sample,),) = prompts.split(made, None)
    return [prompts.refusal(sample, tier) for tier in range(3)]
