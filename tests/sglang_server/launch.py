"""A pytest plugin: SGLang's own server tests start the servers that the run is about.

SGLang's tests start their servers with `popen_launch_server` of `sglang.test.test_utils` and name
models of a hub. Under this plugin each of these servers is plain SGLang with a given model, or a
cascade. It is served under the name that the test knows, and the test's own flags hold. The test
files stay as they are.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Bound the memory of a server and the length of an answer that no test bounds.
MAX_TOTAL_TOKENS = 16384
CONTEXT_TOKENS = 4096
# Of the memory that is free at the start; the tokens bound what is taken of it.
MEMORY_SHARE = 0.7


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sglang server")
    group.addoption("--server-model", help="folder of the model that plain SGLang serves")
    group.addoption("--server-cascade", help="cascade file; given, a cascade is served instead")


def pytest_configure(config: pytest.Config) -> None:
    model, cascade = config.getoption("server_model"), config.getoption("server_cascade")
    if model is None or not Path(model, "config.json").exists():
        raise pytest.UsageError(f"--server-model is {model!r}, allowed: a folder with a model")
    test_utils = importlib.import_module("sglang.test.test_utils")
    # Before the test files take the name over: two runs on one machine need two ports.
    test_utils.DEFAULT_URL_FOR_TEST = f"http://127.0.0.1:{_free_port()}"
    launch = test_utils._launch_server_process

    def launch_ours(
        command: list[str], env: dict[str, str], outputs: Any, name: str
    ) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = launch(
            command_of(command, name, model, cascade), env, outputs, name
        )
        return process

    test_utils._launch_server_process = launch_ours
    # Even offline SGLang's tests look for a model's files on a hub, once a start has failed.
    os.environ["HF_HUB_OFFLINE"] = "1"
    tokenizers = importlib.import_module("sglang.srt.utils.hf_transformers_utils")
    tokenizers.get_tokenizer = _of_folder(tokenizers.get_tokenizer, model)


def command_of(command: list[str], name: str, model: str, cascade: str | None) -> list[str]:
    """The command that starts our server, with the flags of the test's own command.

    Args:
        command: `sglang serve --model-path NAME FLAGS...`, as SGLang's test helper builds it.
        name: the model's name in the test, which becomes the served name.
        model: a model's folder.
        cascade: a cascade file, or None for plain SGLang with the model.
    """
    index = command.index("--model-path")
    flags = command[index + 2 :]
    of_model = json.loads(Path(model, "config.json").read_text())["max_position_embeddings"]
    for flag, beginning, value in (
        ("--max-total-tokens", "--max-total", MAX_TOTAL_TOKENS),
        ("--context-length", "--context-len", min(CONTEXT_TOKENS, of_model)),
        ("--mem-fraction-static", "--mem-frac", MEMORY_SHARE),
    ):
        if not any(given.startswith(beginning) for given in flags):
            flags += [flag, str(value)]
    served = ["--model-path", model]
    if cascade is not None:
        served = ["--plugin", "cascadia", "--cascade-config", cascade]
    launcher = [sys.executable, "-m", "sglang.launch_server"]
    return [*launcher, *served, "--served-model-name", name, *flags]


def _of_folder(get_tokenizer: Callable[..., Any], model: str) -> Callable[..., Any]:
    def of_folder(name: str, *args: Any, **kwargs: Any) -> Any:
        return get_tokenizer(name if Path(name).exists() else model, *args, **kwargs)

    return of_folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
