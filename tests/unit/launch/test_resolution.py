"""What a worker gets of SGLang's resolution: its page size, and NCCL variables of its own tier."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sglang.srt.arg_groups.model_override_base import resolved_view
from sglang.srt.arg_groups.overrides import declare_resolution
from sglang.srt.server_args import ServerArgs

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.launch.resolution import nccl_variables, one_line_errors, page_tokens, resolve
from tests.unit.model_checks.small_models import PLAIN, write_model

# SGLang's own function, in a process of its own: it sets signals and limits besides.
PROGRAM = """
import json, os, sys
from sglang.srt.entrypoints import engine
from sglang.srt.server_args import ServerArgs

names = ("NCCL_CUMEM_ENABLE", "NCCL_NVLS_ENABLE", "NCCL_GRAPH_MIXING_SUPPORT")
found = []
for given, flags in json.loads(sys.argv[1]):
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(given)
    engine._set_envs_and_config(ServerArgs(model_path="x", **flags))
    found.append({name: os.environ[name] for name in names if name in os.environ})
print(json.dumps(found))
"""

GIVEN: list[dict[str, str]] = [
    {},
    {"NCCL_CUMEM_ENABLE": "1", "NCCL_NVLS_ENABLE": "2"},
    {"NCCL_CUMEM_ENABLE": "0", "NCCL_GRAPH_MIXING_SUPPORT": "1"},
]
FLAGS: list[dict[str, Any]] = [
    {},
    {"enable_symm_mem": True},
    {"enable_nccl_nvls": True},
    {"dcp_size": 2},
    {"dcp_size": 2, "enable_symm_mem": True},
    {"enable_kv_cache_sharding": True},
    {"enable_kv_cache_sharding": True, "enable_memory_saver": True},
]
CASES = [(given, flags) for given in GIVEN for flags in FLAGS]


@pytest.fixture(scope="module")
def sglangs() -> list[dict[str, str]]:
    """The variables after SGLang's own function, case by case."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, msgspec.json.encode(CASES).decode()],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    variables: list[dict[str, str]] = msgspec.json.decode(done.stdout.splitlines()[-1])
    return variables


@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case) for case in CASES])
def test_a_worker_has_the_variables_that_sglang_sets_for_its_arguments(
    case: int, sglangs: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, flags = CASES[case]
    # As the first tier's arguments have left them.
    monkeypatch.setenv("NCCL_CUMEM_ENABLE", "1")
    monkeypatch.setenv("NCCL_GRAPH_MIXING_SUPPORT", "0")
    variables = nccl_variables(ServerArgs(model_path="x", **flags), given)
    expected = {"NCCL_GRAPH_MIXING_SUPPORT": "1", **sglangs[case]}
    assert variables == expected
    assert os.environ["NCCL_CUMEM_ENABLE"] == "1"


def test_the_page_is_the_one_that_sglang_resolved() -> None:
    server_args = ServerArgs(model_path="x")
    assert page_tokens(server_args) == 1
    declare_resolution(server_args, "a backend with pages of its own", page_size=64)
    assert server_args.page_size is None
    assert page_tokens(server_args) == 64


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no such backend\nand much more"), "no such backend"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_the_first_line_is_told_with_the_tier(error: Exception, message: str) -> None:
    with pytest.raises(WorkerError) as raised, one_line_errors("small"):
        raise error
    assert str(raised.value) == f"tier small cannot be started: {message}"


def test_a_worker_has_the_parsers_that_its_models_template_tells(tmp_path: Path) -> None:
    thinking = "{% if enable_thinking is defined and enable_thinking is false %}<think></think>"
    template = thinking + "{% endif %}" + PLAIN + "{# <tool_call> <think> #}"
    parsers = []
    for name, text in (("plain", PLAIN), ("thinking", template)):
        model = write_model(tmp_path / name, template=text)
        args = ServerArgs(
            model_path=model, device="cpu", reasoning_parser="auto", tool_call_parser=None
        )
        resolve(args)
        parsers.append(resolved_view(args).reasoning_parser)
    assert parsers == [None, "qwen3"]
