"""Only requests whose answer a draft cannot change may come with one."""

from typing import Any

import pytest

pytest.importorskip("sglang.srt.managers.io_struct")

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.engine.draft_rules import takes_draft

TIER = TierConfig(name="large", model_path="/models/large")
GREEDY = {"temperature": 0.0, "max_new_tokens": 16}


def request(params: dict[str, Any] | None = None, **fields: Any) -> GenerateReqInput:
    return GenerateReqInput(
        input_ids=[1, 2], sampling_params={**GREEDY, **(params or {})}, **fields
    )


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 1.0, "top_k": 1},
        {"frequency_penalty": 0.0, "presence_penalty": 0, "repetition_penalty": 1.0},
        {"stop": [], "stop_token_ids": [7], "n": 1, "min_new_tokens": 0, "logit_bias": None},
        {"ignore_eos": False, "skip_special_tokens": False},
    ],
)
def test_a_greedy_request_does(params: dict[str, Any]) -> None:
    assert takes_draft(request(params), TIER)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.7},
        {"temperature": None},
        {"n": 2},
        {"frequency_penalty": 0.5},
        {"presence_penalty": -0.5},
        {"repetition_penalty": 1.1},
        {"min_new_tokens": 4},
        {"stop": ["zz"]},
        {"stop": "zz"},
        {"stop_regex": "z+"},
        {"regex": "[0-9]+"},
        {"json_schema": "{}"},
        {"ignore_eos": True},
        {"logit_bias": {"5": 0.5}},
        {"no_stop_trim": True},
        {"beam_width": 2},
    ],
    ids=lambda params: next(iter(params)),
)
def test_what_depends_on_more_than_the_logits_does_not(params: dict[str, Any]) -> None:
    assert not takes_draft(request(params), TIER)


@pytest.mark.parametrize(
    "fields",
    [
        {"return_logprob": True},
        {"return_hidden_states": True},
        {"custom_logit_processor": "x"},
        {"session_params": {"id": "s"}},
        {"lora_path": "adapter"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_needs_every_step_or_another_model_does_not(fields: dict[str, Any]) -> None:
    assert not takes_draft(request(**fields), TIER)


def test_text_that_is_not_tokenised_yet_does_not() -> None:
    assert not takes_draft(GenerateReqInput(text="a", sampling_params=GREEDY), TIER)


def test_the_tiers_own_sampling_counts() -> None:
    warm = TierConfig(name="large", model_path="/models/large", sampling={"temperature": 0.5})
    assert not takes_draft(request(), warm)


def speculative(algorithm: str) -> TierConfig:
    args = {"speculative_algorithm": algorithm}
    return TierConfig(name="large", model_path="/models/large", server_args=args)


@pytest.mark.parametrize("algorithm", ["EAGLE", "EAGLE3", "STANDALONE", "DFLASH"])
def test_a_tier_whose_speculation_has_proposals_of_its_own_does_not(algorithm: str) -> None:
    assert not takes_draft(request(), speculative(algorithm))


@pytest.mark.parametrize("algorithm", ["NGRAM", "ngram"])
@pytest.mark.parametrize(
    "params",
    [{"temperature": 0.7}, {"stop": ["x"]}, {"regex": "[0-9]+"}, {"frequency_penalty": 1.0}],
    ids=lambda params: next(iter(params)),
)
def test_a_tier_with_ngram_speculation_takes_one_for_any_request(
    params: dict[str, Any], algorithm: str
) -> None:
    assert takes_draft(request(params), speculative(algorithm))
