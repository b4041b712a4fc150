"""The check of whole requests before a worker sees them."""

from types import SimpleNamespace
from typing import Any

import pytest
from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.errors import ConfigError, RequestError
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.request_guard.guard import RequestGuard
from cascadia_sglang.request_guard.request_check import check_ids, check_request
from cascadia_sglang.request_guard.request_table import Scope
from cascadia_sglang.request_guard.sampling_check import check_tier_sampling

SCOPE = Scope(vocabulary=128, max_samples=16, max_requests=32)


def check(**fields: Any) -> GenerateReqInput:
    request = GenerateReqInput(**fields)
    check_request(request, SCOPE)
    return request


def refusal(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as refused:
        check(**fields)
    assert refused.value.status == 400
    assert refused.value.param is not None
    return refused.value


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a"},
        {"text": "a", "rid": "x", "stream": True, "priority": -1},
        {"text": ["a", "b"], "rid": ["x", "y"], "return_logprob": [True, False]},
        {"text": ["a", "b"], "sampling_params": [{"top_k": 1}, {"top_k": 2}]},
        {"text": "a", "rid": ["x"], "sampling_params": {"n": 2}},
        {"text": ["a", "b"], "token_ids_logprob": [1, 2, 3]},
        {"text": ["a", "b"], "token_ids_logprob": [[1], [2, 3]]},
        {"text": ["a", "b"], "lora_path": ["x", None]},
        {"text": "a", "return_hidden_states": "last"},
        {"input_ids": [1, 127]},
        {"input_ids": [[1], [127]]},
        {"input_ids": [], "session_params": {"id": "s"}},
        {"text": "a", "image_data": ["x", "y"]},
        {"text": "a", "session_params": {"id": "s", "offset": 3, "replace": None}},
        {
            "input_ids": [1, 2],
            "token_indices_to_pool": [1],
            "sampling_params": {"max_new_tokens": 0},
        },
    ],
    ids=str,
)
def test_what_sglang_takes_passes_unchanged(fields: dict[str, Any]) -> None:
    before = vars(GenerateReqInput(**fields))
    expected = {key: value for key, value in before.items() if key != "session_params"}
    checked = vars(check(**fields))
    assert {key: checked[key] for key in expected} == expected


def test_a_float_without_a_fraction_is_read_as_an_integer() -> None:
    request = check(text="a", priority=3.0, sampling_params={"max_new_tokens": 8.0, "top_k": 40})
    assert type(request.priority) is int
    assert type(request.sampling_params["max_new_tokens"]) is int


def test_null_stands_for_what_was_not_given() -> None:
    params = {"temperature": None, "n": None, "stop": None, "max_new_tokens": None}
    request = check(text="a", log_metrics=None, sampling_params=params)
    # SGLang's own default of 128 tokens is not what null asks for.
    assert request.sampling_params == {"temperature": 1.0, "n": 1, "max_new_tokens": None}
    assert request.log_metrics is True


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("text", {"text": []}),
        ("text", {"text": [], "stream": True}),
        ("text", {"text": [1]}),
        ("text", {"text": {"a": 1}}),
        ("text", {"text": ["a", None]}),
        ("return_logprob", {"text": ["a", "b"], "return_logprob": [True, None]}),
        ("logprob_start_len", {"text": ["a", "b"], "logprob_start_len": [None, 0]}),
        ("top_logprobs_num", {"text": ["a", "b"], "top_logprobs_num": [None, 0]}),
        ("text", {"text": "a\ud800"}),
        ("text", {"text": "a", "input_ids": [1]}),
        ("text", {"text": ["a"] * 33}),
        ("input_ids", {"input_ids": [1, 128]}),
        ("input_ids", {"input_ids": [1, -1]}),
        ("input_ids", {"input_ids": [1, 2**40]}),
        ("input_ids", {"input_ids": [1, 1.5]}),
        ("input_ids", {"input_ids": [1, "a"]}),
        ("input_ids", {"input_ids": [[1], []]}),
        ("input_ids", {"input_ids": [[1], [128]]}),
        ("input_ids", {"input_ids": [[1], 5]}),
        ("input_ids", {"input_ids": "abc"}),
        ("input_embeds", {"input_embeds": [[0.5]]}),
        ("sampling_params", {"text": "a", "sampling_params": "x"}),
        ("sampling_params", {"text": "a", "sampling_params": [{}]}),
        ("sampling_params", {"text": ["a", "b"], "sampling_params": [{}]}),
        ("sampling_params", {"text": "a", "sampling_params": {"foo": 1}}),
        ("n", {"text": ["a"] * 20, "sampling_params": {"n": 2}}),
        ("rid", {"text": "a", "rid": 5}),
        ("rid", {"text": ["a", "b"], "rid": ["x"]}),
        ("stream", {"text": "a", "stream": "yes"}),
        ("return_logprob", {"text": "a", "return_logprob": [True]}),
        ("return_logprob", {"text": ["a", "b"], "return_logprob": [True]}),
        ("logprob_start_len", {"text": "a", "logprob_start_len": -2}),
        ("logprob_start_len", {"text": "a", "logprob_start_len": 1.5}),
        ("top_logprobs_num", {"text": "a", "top_logprobs_num": 129}),
        ("top_logprobs_num", {"text": "a", "top_logprobs_num": -1}),
        ("token_ids_logprob", {"text": "a", "token_ids_logprob": [128]}),
        ("token_ids_logprob", {"text": ["a", "b"], "token_ids_logprob": [[1], [-1]]}),
        ("sampling_logprobs_mode", {"text": "a", "sampling_logprobs_mode": "all"}),
        ("priority", {"text": "a", "priority": 2**63}),
        ("received_time", {"text": "a", "received_time": float("nan")}),
        ("session_params", {"text": "a", "session_params": "x"}),
        ("session_params", {"text": "a", "session_params": {"foo": 1}}),
        ("offset", {"text": "a", "session_params": {"offset": -1}}),
        ("custom_labels", {"text": "a", "custom_labels": {"a": 1}}),
        ("http_worker_ipc", {"text": "a", "http_worker_ipc": "ipc:///x"}),
        ("lora_id", {"text": "a", "lora_id": "x"}),
        ("positional_embed_overrides", {"text": "a", "positional_embed_overrides": {}}),
        ("token_indices_to_pool", {"text": "a", "token_indices_to_pool": [0]}),
        ("token_indices_to_pool", {"input_ids": [1], "token_indices_to_pool": [0]}),
        (
            "token_indices_to_pool",
            {
                "input_ids": [1],
                "token_indices_to_pool": [1],
                "sampling_params": {"max_new_tokens": 0},
            },
        ),
    ],
    ids=str,
)
def test_what_could_end_a_worker_is_refused_by_name(name: str, fields: dict[str, Any]) -> None:
    assert refusal(**fields).param == name


@pytest.mark.parametrize(
    ("token_ids", "words"),
    [
        ([-1], "out-of-vocabulary"),
        ([2_000_000_000], "out-of-vocabulary"),
        ([[0], [1, 2]], "flat list of integers"),
    ],
)
def test_token_ids_are_refused_in_the_words_of_sglang(token_ids: list, words: str) -> None:
    """Clients that look for SGLang's own words find them."""
    message = str(refusal(text="a", token_ids_logprob=token_ids))
    assert words in message
    assert "token_ids_logprob" in message


def test_a_batch_may_have_as_many_samples_as_one_worker_holds() -> None:
    check(text=["a"] * 16, sampling_params={"n": 2})
    check(text=["a"] * 32, sampling_params={"n": 1})


def test_the_sequences_of_a_beam_search_are_one_sample() -> None:
    check(text=["a"] * 32, sampling_params={"n": 2, "beam_width": 2})


# The guard: the same by the workers of a server


def make_guard(*vocabularies: int, **manager: Any) -> RequestGuard:
    pool = WritablePool()
    for number, vocabulary in enumerate(vocabularies):
        worker = Worker(worker_id=str(number), tiers=(number,), handle=None)
        pool.add(worker)
        pool.admit(worker, Limits(context_tokens=9, input_tokens=9, vocabulary=vocabulary))
    voices = Voices.single([str(number) for number in range(max(1, len(vocabularies)))])
    guard = RequestGuard(pool, voices, 8, 4)
    arguments = SimpleNamespace(enable_custom_logit_processor=False, allow_auto_truncate=False)
    fields = {"enable_metrics": False, "server_args": arguments, **manager}
    made = SimpleNamespace(**fields)
    guard.connect(made, [getattr(made, "tokenizer", None)])
    return guard


def test_a_token_that_one_of_the_tiers_lacks_is_refused() -> None:
    guard = make_guard(200, 100)
    guard.check(GenerateReqInput(input_ids=[99]), 0)
    with pytest.raises(RequestError, match="from 0 to 99, got 100"):
        guard.check(GenerateReqInput(input_ids=[100]), 0)


def test_the_smallest_vocabulary_holds_while_its_worker_is_away() -> None:
    guard = make_guard(200, 100)
    for worker in list(guard._pool):
        guard._pool.remove(worker)
    with pytest.raises(RequestError):
        guard.check(GenerateReqInput(input_ids=[150]), 0)


def test_a_token_of_the_tokenizer_that_a_model_lacks_is_refused() -> None:
    guard = make_guard(100)
    guard.check_text([99], 0)
    with pytest.raises(RequestError, match="text must hold token ids from 0 to 99, got 100"):
        guard.check_text([5, 100], 0)


def test_a_text_without_any_token_is_refused() -> None:
    with pytest.raises(RequestError, match="text must hold at least one token"):
        make_guard(100).check_text([], 0)


def test_a_text_that_no_tier_has_room_for_is_refused_before_it_is_tokenised() -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: {"a": 0, "ab" * 10_000: 1})
    guard = make_guard(100, tokenizer=tokenizer)
    guard.check(GenerateReqInput(text="a" * 180_000), 0)
    with pytest.raises(RequestError, match="text has 180001 characters"):
        guard.check(GenerateReqInput(text=["a", "a" * 180_001]), 0)


def test_the_routers_own_metric_labels_are_none_of_the_clients() -> None:
    arguments = SimpleNamespace(
        enable_custom_logit_processor=False,
        tokenizer_metrics_allowed_custom_labels=["team", "tier", "worker"],
    )
    guard = make_guard(100, enable_metrics=True, server_args=arguments)
    guard.check(GenerateReqInput(text="a", custom_labels={"team": "x"}), 0)
    with pytest.raises(RequestError, match="custom_labels"):
        guard.check(GenerateReqInput(text="a", custom_labels={"worker": "x"}), 0)


@pytest.mark.parametrize(
    ("sampling", "line"),
    [
        ({"max_new_tokens": 1.5}, "tier small: sampling: max_new_tokens .*got 1.5"),
        ({"top_k": 2**31}, "tier small: sampling: top_k .*got 2147483648"),
        ({"foo": 1}, "tier small: sampling: sampling_params has no field 'foo'"),
        ({"top_k": 8.0}, "tier small: sampling: top_k is 8.0, written as 8"),
    ],
    ids=str,
)
def test_what_a_tier_sets_is_checked_by_the_same_table(sampling: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        check_tier_sampling([TierConfig(name="small", model_path="m", sampling=sampling)])


def test_what_a_tier_may_set_is_taken() -> None:
    sampling = {"temperature": 0, "max_new_tokens": 64, "stop": ["###"], "regex": None}
    check_tier_sampling([TierConfig(name="small", model_path="m", sampling=sampling)])


@pytest.mark.parametrize("wrong", [True, 3.0, None, "3", [3]], ids=repr)
def test_ids_of_another_type_are_refused(wrong: Any) -> None:
    if wrong is True:
        check_ids([wrong], SCOPE)  # it is 1 to every list of integers
        return
    with pytest.raises(RequestError, match="input_ids"):
        check_ids([1, wrong], SCOPE)
