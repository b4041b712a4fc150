"""The table of request fields: a row for every field of SGLang's, and what the rows allow."""

import dataclasses
from typing import Any

import msgspec
import pytest
from sglang.srt.managers.io_struct import GenerateReqInput, SessionParams
from sglang.srt.sampling.custom_logit_processor import (
    CustomLogitProcessor,
    DisallowedTokensLogitsProcessor,
)
from sglang.srt.sampling.sampling_params import SamplingParams

from cascadia_sglang.errors import RequestError
from cascadia_sglang.messages import ATTEMPT_KEY
from cascadia_sglang.request_guard.request_table import (
    REQUEST_ROWS,
    SAMPLING_ROWS,
    SESSION_ROWS,
    Row,
    Scope,
)
from cascadia_sglang.request_guard.sampling_check import SAMPLING_FIELDS

SCOPE = Scope(vocabulary=128, max_samples=16, max_requests=32)


def names_of(kind: Any) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return [field.name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (GenerateReqInput, REQUEST_ROWS),
        (SamplingParams, SAMPLING_ROWS),
        (SessionParams, SESSION_ROWS),
    ],
    ids=["request", "sampling", "session"],
)
def test_every_field_has_a_row(kind: Any, rows: dict[str, Row]) -> None:
    assert sorted(rows) == sorted(names_of(kind))


def read(name: str, value: Any, scope: Scope = SCOPE) -> Any:
    return SAMPLING_FIELDS[name].read(value, scope)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_new_tokens", 8.0, 8),
        ("max_new_tokens", None, None),
        ("top_k", 40.0, 40),
        ("top_k", -1, -1),
        ("n", None, 1),
        ("temperature", 1, 1),
        ("temperature", None, 1.0),
        ("ignore_eos", 1, True),
        ("stop", ["a", "b"], ["a", "b"]),
        ("stop_token_ids", [None, 7.0, 0], [7, 0]),
        ("stop_token_ids", {7}, [7]),
        ("logit_bias", {"127": -100}, {"127": -100}),
        ("custom_params", {"a": {"b": [1]}}, {"a": {"b": [1]}}),
        ("stop_regex", "a+b", "a+b"),
    ],
)
def test_a_value_is_read_as_sglang_wants_it(name: str, value: Any, expected: Any) -> None:
    parsed = read(name, value)
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 2.5),
        ("max_new_tokens", True),
        ("max_new_tokens", "8"),
        ("max_new_tokens", -1),
        ("max_new_tokens", 2**31),
        ("top_k", 40.5),
        ("top_k", 2**31),
        ("n", 0),
        ("n", -1),
        ("n", 17),
        ("beam_width", 17),
        ("stream_interval", 0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", 1e39),
        ("temperature", 10**400),
        ("top_p", float("nan")),
        ("repetition_penalty", 1e-40),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", [1]),
        ("stop", "\ud800"),
        ("stop_token_ids", [128]),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", 7),
        ("stop_regex", "("),
        ("stop_regex", ""),
        ("stop_regex", "a" * 257),
        ("logit_bias", {"128": 1}),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"5": float("nan")}),
        ("logit_bias", {"5": 1e300}),
        ("logit_bias", [5]),
        ("json_schema", {"type": "object"}),
        ("custom_params", "x"),
        ("custom_params", [1]),
        ("custom_params", {ATTEMPT_KEY: {"threshold": -1}}),
        ("sampling_seed", 2**63),
        ("is_normalized", True),
        ("stop_strs", ["a"]),
    ],
    ids=str,
)
def test_a_value_that_could_end_a_worker_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name) as refused:
        read(name, value)
    assert (refused.value.status, refused.value.param) == (400, name)


def test_a_refusal_names_value_range_and_what_the_routes_call_the_field() -> None:
    with pytest.raises(RequestError) as refused:
        read("max_new_tokens", 2.5)
    text = str(refused.value)
    assert "2.5" in text
    assert "an integer from 0 to 2147483647" in text
    assert "num_predict" in text


def processor_row() -> Any:
    check = REQUEST_ROWS["custom_logit_processor"].check
    assert check is not None
    return check


def test_a_logit_processor_is_loaded_only_where_the_operator_allows_them() -> None:
    processor_row()("no processor", SCOPE)


@pytest.mark.parametrize("text", ["", "x", '{"callable": "00"}', '{"callable": 1}', "[]"])
def test_a_logit_processor_that_does_not_load_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CustomLogitProcessor"):
        processor_row()(text, dataclasses.replace(SCOPE, allows_processors=True))


def test_a_logit_processor_that_loads_is_taken() -> None:
    text = DisallowedTokensLogitsProcessor.to_str()
    processor_row()(text, dataclasses.replace(SCOPE, allows_processors=True))
    assert isinstance(CustomLogitProcessor.from_str(text), DisallowedTokensLogitsProcessor)


def test_a_metric_label_that_is_not_configured_is_refused_where_they_are_measured() -> None:
    check = REQUEST_ROWS["custom_labels"].check
    assert check is not None
    check({"team": "a"}, SCOPE)
    measured = dataclasses.replace(SCOPE, labels=frozenset({"team"}))
    check({"team": "a"}, measured)
    with pytest.raises(ValueError, match="team"):
        check({"other": "a"}, measured)
