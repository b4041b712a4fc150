"""With this package installed and no `--plugin cascadia`, a plain server is what it was."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.serving import PLATFORM_ALONE, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

PLAIN = ("--model-path", "demo/models/small", "--max-total-tokens", "65536")


def describe(server: Server) -> dict:
    """Routes, processes and greedy answers of a plain server."""
    with server.client() as client:
        routes = sorted(client.get("/openapi.json").json()["paths"])
        models = [card["id"] for card in client.get("/v1/models").json()["data"]]
        answers = []
        for prompt in [f"sort {a}{b}{c}" for a in "jih" for b in "abc" for c in "fed"]:
            body = {"text": prompt, "sampling_params": {"temperature": 0, "max_new_tokens": 24}}
            reply = client.post("/generate", json=body)
            answers.append(reply.json()["text"])
            assert not [name for name in reply.headers if name.startswith("x-cascadia")]
    processes = sorted(process.name() for process in server.family())
    return {"routes": routes, "models": models, "answers": answers, "processes": processes}


def test_routes_processes_and_greedy_answers_are_the_same(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = []
        for environment in ({}, PLATFORM_ALONE):
            servers.append(start(tmp_path, *PLAIN, environment=environment))
            stack.callback(servers[-1].stop)
        for server in servers:
            server.wait_until_ready()
        with_plugin, alone = map(describe, servers)
    assert with_plugin == alone
