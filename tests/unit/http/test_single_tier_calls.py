"""Which tier a request outside the cascade is for."""

import asyncio
import json
from typing import Any

import pytest

from cascadia_sglang.engine.target_tiers import target_tiers
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.single_tier_calls import guard
from cascadia_sglang.testing.engine import make_cascade

TWO = make_cascade("small", "large")


def ask(
    path: str,
    body: Any = None,
    query: str = "",
    header_tier: int | None = None,
    flags: dict[tuple[int, str], Any] | None = None,
) -> tuple[frozenset[int] | None, bytes]:
    """The tiers that it is for, and the body that its route gets."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    messages = [
        {"type": "http.request", "body": data[:3], "more_body": True},
        {"type": "http.request", "body": data[3:]},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def main() -> tuple[frozenset[int] | None, bytes]:
        scope = {"type": "http", "path": path, "query_string": query.encode()}
        flags_by_tier = flags or {}
        replay = await guard(
            scope,
            receive,
            header_tier,
            TWO,
            "served",
            lambda tier, field: flags_by_tier.get((tier, field)),
        )
        got = (await replay())["body"]
        assert (await replay())["type"] == "http.disconnect"
        return target_tiers(), got

    return asyncio.run(main())


@pytest.mark.parametrize(
    "named", [{"body": {"tier": "large"}}, {"query": "tier=large"}, {"header_tier": 1}]
)
def test_a_tier_is_named_in_body_query_or_header(named: dict[str, Any]) -> None:
    tiers, _ = ask("/flush_cache", **named)
    assert tiers == {1}


def test_the_tier_is_taken_out_of_the_body_that_sglang_checks() -> None:
    _, body = ask("/update_weights_from_disk", {"tier": "small", "model_path": "x"})
    assert json.loads(body) == {"model_path": "x"}


@pytest.mark.parametrize("body", [None, b"not json", {"mode": "abort"}, [1, 2]])
def test_a_control_call_without_a_tier_is_for_all_and_passes_as_it_is(body: Any) -> None:
    tiers, passed = ask("/pause_generation", body)
    assert tiers is None
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    assert passed == sent


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/score", "/v1/rerank", "/classify"])
def test_routes_of_one_tier_take_it_from_the_model(path: str) -> None:
    tiers, body = ask(path, {"model": "small", "input": "x"})
    assert tiers == {0}
    assert json.loads(body)["model"] == "small"


@pytest.mark.parametrize("body", [{}, {"model": "cascadia"}, {"model": "served"}, {"model": None}])
def test_for_the_cascade_the_last_tier_answers(body: dict[str, Any]) -> None:
    """A score of one tier cannot be compared with that of another."""
    tiers, passed = ask("/v1/score", body)
    assert tiers == {1}
    assert json.loads(passed) == body


def test_a_model_that_nobody_knows_is_a_404() -> None:
    with pytest.raises(RequestError, match="served") as caught:
        ask("/v1/score", {"model": "huge"})
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/update_weights_from_disk", {"model_path": "x"}, "tier"),
        ("/load_lora_adapter", {"lora_name": "x"}, "tier"),
        ("/flush_cache", {"tier": "huge"}, "tier"),
        ("/v1/audio/transcriptions", None, None),
        ("/pd_role_switch", {"tier": "small"}, None),
    ],
)
def test_what_cannot_be_served_is_a_400(path: str, body: Any, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        ask(path, body)
    assert (caught.value.status, caught.value.param) == (400, param)


NEEDED = {
    "/release_memory_occupation": ("enable_memory_saver", "--enable-memory-saver"),
    "/resume_memory_occupation": ("enable_memory_saver", "--enable-memory-saver"),
    **dict.fromkeys(
        (f"/{verb}_expert_distribution_record" for verb in ("start", "stop", "dump")),
        ("expert_distribution_recorder_mode", "--expert-distribution-recorder-mode"),
    ),
}


@pytest.mark.parametrize("path", NEEDED)
def test_a_call_that_sglang_does_not_survive_without_a_flag_names_it(path: str) -> None:
    field, flag = NEEDED[path]
    with pytest.raises(RequestError) as caught:
        ask(path)
    assert caught.value.status == 400
    assert str(caught.value) == f"{path} needs {flag}; tier small was started without it"
    # One tier that has it is not enough for a call to all.
    with pytest.raises(RequestError, match="tier large was started without it"):
        ask(path, flags={(0, field): True})
    assert ask(path, flags={(0, field): True}, query="tier=small")[0] == {0}
    assert ask(path, flags={(0, field): "stat", (1, field): "stat"})[0] is None
