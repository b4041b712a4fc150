"""A predicted entry, on the real server: the router sees the tokens that the fit would see."""

import pytest

from tests.system.conftest import SKIPS_SMALL

pytestmark = pytest.mark.sglang

PARAMS = {"temperature": 0, "max_new_tokens": 8}


def story(demo, headers=None, **body):
    with demo.client() as client:
        body = {"sampling_params": PARAMS, **body}
        response = client.post("/generate", json=body, headers=headers or {})
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["meta_info"]["cascadia"], answer["meta_info"]["prompt_tokens"]


def test_a_prompt_that_the_small_tier_would_fail_begins_at_the_next(demo):
    summary, _ = story(demo, text=f"rev ab{SKIPS_SMALL}")
    assert summary["entry"] == summary["tier"] == "large"
    assert [attempt["tier"] for attempt in summary["attempts"]] == ["large"]


def test_any_other_begins_at_the_first(demo):
    summary, _ = story(demo, {"x-cascadia-threshold": "0"}, text="rev ab")
    assert summary["entry"] == summary["tier"] == "small"


def test_the_highest_tier_allowed_answers_all_the_same(demo):
    summary, _ = story(demo, {"x-cascadia-max-tier": "small"}, text=f"rev ab{SKIPS_SMALL}")
    assert summary["entry"] == summary["tier"] == "small"


def test_token_ids_are_routed_as_their_text(demo):
    _, tokens = story(demo, text=f"rev ab{SKIPS_SMALL}")
    with demo.client() as client:
        body = {"model": "cascadia", "prompt": f"rev ab{SKIPS_SMALL}"}
        ids = client.post("/tokenize", json=body).json()["tokens"]
    assert len(ids) == tokens
    summary, _ = story(demo, input_ids=ids)
    assert summary["entry"] == "large"


def test_a_chat_is_routed_by_its_tokens(demo):
    with demo.client() as client:
        for content, tier in ((f"rev ab{SKIPS_SMALL}", "large"), ("rev ab", "small")):
            body = {"model": "cascadia", "messages": [{"role": "user", "content": content}]}
            response = client.post(
                "/v1/chat/completions", json=body, headers={"x-cascadia-threshold": "0"}
            )
            assert response.headers["x-cascadia-tier"] == tier
            assert response.headers["x-cascadia-attempts"] == "1"
