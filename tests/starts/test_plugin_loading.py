"""What SGLang loads where this package is installed and `--plugin cascadia` is not given."""

import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.serving import PLATFORM_ALONE

pytestmark = pytest.mark.sglang

LOOK = """
import json, os, sys, time
from sglang.srt.server_args import ServerArgs
sys.stdout.flush()
for _ in range(int(sys.argv[1])):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    # A fork copies each page at its first write, and to read an object writes its count. Not timed.
    for module in filter(None, list(sys.modules.values())):
        list(vars(module).items())
    started = time.process_time()
    from sglang.srt.plugins import load_plugins
    load_plugins()
    seconds = time.process_time() - started
    from sglang.srt.plugins.hook_registry import HookRegistry
    ours = sorted(name for name in sys.modules if name.startswith("cascadia"))
    state = {"hooks": sorted(HookRegistry._hooks), "ours": ours, "seconds": seconds}
    print(json.dumps(state), flush=True)
    os._exit(0)
"""
LOOKS = 3


def loaded_state(environment: dict[str, str]) -> list[dict]:
    """What loading SGLang's plugins leaves in a process, and the CPU seconds it takes.

    Each look is in a fork of its own, of a process that has imported SGLang and no plugin.
    """
    out = subprocess.run(
        [sys.executable, "-c", LOOK, str(LOOKS)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return [json.loads(line) for line in out.stdout.strip().split("\n")[-LOOKS:]]


@pytest.fixture(scope="module")
def looks() -> list[tuple[dict, dict]]:
    """Pairs: with our plugin, and with the platform alone."""
    with ThreadPoolExecutor(2) as both:
        return list(zip(*both.map(loaded_state, ({}, PLATFORM_ALONE)), strict=True))


def test_only_the_two_argument_hooks_are_there(looks: list[tuple[dict, dict]]) -> None:
    with_plugin, alone = looks[0]
    assert with_plugin["hooks"] == [
        "sglang.srt.server_args.ServerArgs.add_cli_args",
        "sglang.srt.server_args.ServerArgs.from_cli_args",
    ]
    assert alone["hooks"] == []


def test_nothing_of_the_server_is_imported(looks: list[tuple[dict, dict]]) -> None:
    assert set(looks[0][0]["ours"]) <= {
        "cascadia_sglang",
        "cascadia_sglang.plugin",
        "cascadia_sglang.platform",
        "cascadia_sglang.errors",
        "cascadia_sglang.version",
        "cascadia_patches",
        "cascadia_patches.apply",
        "cascadia_patches.launch",
        "cascadia_patches.launch.server_args_add_cli_args",
        "cascadia_patches.launch.server_args_from_cli_args",
        "cascadia_patches.registry",
        "cascadia_patches.spec",
    }


def test_loading_the_plugin_costs_at_most_a_tenth_of_a_cpu_second(
    looks: list[tuple[dict, dict]],
) -> None:
    extra = [with_plugin["seconds"] - alone["seconds"] for with_plugin, alone in looks]
    assert statistics.median(extra) <= 0.1
