"""Prefix caches on the real server: shared by tiers of one model, known, warmed, carried along."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from bench.prefix.chats import chats
from tests.system.serving import ROOT, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

PAGE_TOKENS = 16
MODELS = ROOT / "demo" / "models"
GREEDY = {"temperature": 0, "max_new_tokens": 8}


def tier(name: str, model: str, demo_tier: str, **settings: object) -> dict:
    """A tier whose calibration is that of the demo's tier named."""
    return {
        "name": name,
        "model_path": str(MODELS / model),
        "calibration": str(MODELS / demo_tier / "calibration.json"),
        "server_args": {"page_size": PAGE_TOKENS, "max_total_tokens": 16384},
        **settings,
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A quick and a careful way of asking the small model, on two workers, and the large one."""
    folder = tmp_path_factory.mktemp("prefixes")
    cascade = {
        "version": 1,
        "tiers": [
            tier("quick", "small", "small", replicas=2),
            tier("careful", "small", "middle", prompt_suffix="\n", sampling={"temperature": 0}),
            tier("large", "large", "large"),
        ],
        "routing": {"thresholds": [0.9, 0.9], "early_abort": None},
        "prefix": {"warm_chunk": 64, "carry_s": 20.0},
        "planner": {"gpu_budget": 4},
    }
    path = folder / "cascade.json"
    path.write_text(json.dumps(cascade))
    flags = ("--plugin", "cascadia", "--cascade-config", str(path), "--admin-api-key", "secret")
    running = start(folder, *flags)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


def ask(server: Server, prompt: str, threshold: str, **sampling: object) -> list[dict]:
    """The attempts of a request."""
    body = {"text": prompt, "sampling_params": {**GREEDY, **sampling}}
    with server.client() as client:
        reply = client.post("/generate", json=body, headers={"x-cascadia-threshold": threshold})
    assert reply.status_code == 200, reply.text
    attempts: list[dict] = reply.json()["meta_info"]["cascadia"]["attempts"]
    return attempts


def until(is_reached: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def systems(seed: int, count: int) -> list[str]:
    return [f"{chat.system}\nget {chat.keys[0]}" for chat in chats(seed, count)]


def test_tiers_of_one_model_share_workers_and_their_cache(server: Server) -> None:
    workers = server.status()["workers"]
    assert [worker["tiers"] for worker in workers] == [["quick", "careful"]] * 2 + [["large"]]
    (prompt,) = systems(1, 1)
    quick, careful, large = ask(server, prompt, "1")
    whole = (len(prompt) + 1) // PAGE_TOKENS * PAGE_TOKENS
    assert (quick["tier"], careful["tier"], large["tier"]) == ("quick", "careful", "large")
    assert quick["cached_tokens"] < PAGE_TOKENS
    # All that both prompts share, in whole pages.
    assert whole - PAGE_TOKENS <= careful["cached_tokens"] <= whole


def test_a_prompt_goes_to_the_worker_that_holds_its_prefix(server: Server) -> None:
    """Both are sent at once, so each worker gets one of them; later each finds its own."""
    some = systems(2, 8)
    for first, second in zip(some[::2], some[1::2], strict=True):
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda prompt: ask(server, prompt, "0"), (first, second)))
        time.sleep(0.3)  # until the events are there
        for prompt in (second, first):
            (attempt,) = ask(server, prompt, "0")
            assert attempt["cached_tokens"] >= len(prompt) - 2 * PAGE_TOKENS


def test_the_index_is_fed_by_events_and_keeps_its_promises(server: Server) -> None:
    (prompt,) = systems(3, 1)
    for _ in range(3):
        ask(server, prompt, "0")
        time.sleep(0.2)
    prefixes = server.status()["prefixes"]
    assert prefixes["events"]["batches"] > 0
    assert prefixes["events"]["drops"] == 0
    assert prefixes["blocks"] * PAGE_TOKENS >= len(prompt)
    assert prefixes["told"]["promises"] >= 2
    assert prefixes["told"]["stale_per_1000"] < 100
    assert prefixes["guessed"]["promises"] == 0
    assert sum(prefixes["held_tokens"].values()) == prefixes["blocks"] * PAGE_TOKENS


def test_what_will_escalate_is_warmed_on_the_next_tier(server: Server) -> None:
    """Once everything of some length has escalated, the next prompt is expected to.

    Answers are so long that there is time for it.
    """
    for prompt in systems(4, 12):
        ask(server, prompt, "1")
    before = server.status()["tiers"][2]["warm"]
    for prompt in systems(5, 3):
        ask(server, prompt, "1", max_new_tokens=64, ignore_eos=True)
    until(lambda: server.status()["tiers"][2]["warm"]["used_tokens"] > before["used_tokens"])
    warm = server.status()["tiers"][2]["warm"]
    assert warm["warmed_tokens"] >= warm["used_tokens"] > 0


def test_a_new_worker_has_the_hottest_prefixes_before_it_serves(server: Server) -> None:
    (shared,) = chats(6, 1)
    for turn in range(4):
        ask(server, shared.prompt(turn), "0")
    before = {worker["id"] for worker in server.status()["workers"]}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        client.headers["authorization"] = "Bearer secret"
        for replicas in (3, 2):
            body = {"tier": "quick", "replicas": replicas}
            assert client.post("/cascadia/workers", json=body).status_code == 200
            if replicas == 3:
                status = server.status()
                (new,) = {worker["id"] for worker in status["workers"]} - before
                assert status["prefixes"]["held_tokens"][new] >= len(shared.system)
    until(lambda: new not in server.status()["prefixes"]["held_tokens"])
