"""With this package installed and no `--plugin cascadia`, SGLang is what it was.

What it was is an environment with the CPU platform alone: `SGLANG_PLUGINS` leaves our plugin out.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.serving import Server, start

pytestmark = pytest.mark.sglang

PLATFORM_ALONE = {"SGLANG_PLUGINS": "cascadia_cpu"}
PLAIN = ("--model-path", "bench/ladder/small", "--max-total-tokens", "65536")

LOOK = """
import json, sys, time
from sglang.srt.server_args import ServerArgs
started = time.perf_counter()
from sglang.srt.plugins import load_plugins
load_plugins()
seconds = time.perf_counter() - started
from sglang.srt.plugins.hook_registry import HookRegistry
ours = sorted(name for name in sys.modules if name.startswith("cascadia"))
print(json.dumps({"hooks": sorted(HookRegistry._hooks), "ours": ours, "seconds": seconds}))
"""


def look(environment: dict[str, str]) -> dict:
    """What loading SGLang's plugins leaves in a fresh process."""
    out = subprocess.run(
        [sys.executable, "-c", LOOK],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return json.loads(out.stdout.strip().split("\n")[-1])


def test_only_the_two_argument_hooks_are_there() -> None:
    assert look({})["hooks"] == [
        "sglang.srt.server_args.ServerArgs.add_cli_args",
        "sglang.srt.server_args.ServerArgs.from_cli_args",
    ]
    assert look(PLATFORM_ALONE)["hooks"] == []


def test_nothing_of_the_server_is_imported() -> None:
    assert set(look({})["ours"]) <= {
        "cascadia_sglang",
        "cascadia_sglang.plugin",
        "cascadia_sglang.platform",
        "cascadia_sglang.errors",
        "cascadia_patches",
        "cascadia_patches.registry",
        "cascadia_patches.add_cli_args",
        "cascadia_patches.from_cli_args",
    }


def test_loading_the_plugin_costs_at_most_a_tenth_of_a_second() -> None:
    extra = [look({})["seconds"] - look(PLATFORM_ALONE)["seconds"] for _ in range(5)]
    assert statistics.median(extra) <= 0.1


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
    found = []
    for environment in ({}, PLATFORM_ALONE):
        server = start(tmp_path, *PLAIN, environment=environment)
        try:
            server.wait_until_ready()
            found.append(describe(server))
        finally:
            server.stop()
    assert found[0] == found[1]
