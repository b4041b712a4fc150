"""Bad input ends the real command with one line, exit code 2, and nothing started."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml

from tests.system.serving import ROOT

pytestmark = pytest.mark.sglang

# In the environment of a start and of all its children.
MARK = "CASCADIA_TEST_MARK"
DEMO = yaml.safe_load((ROOT / "tests/system/cascade.yaml").read_text())


def run(folder: Path, cascade: dict, *more: str, launcher: tuple[str, ...] = ()) -> str:
    """The error line of a start that must fail."""
    path = folder / "cascade.json"
    path.write_text(json.dumps(cascade))
    launch = launcher or (sys.executable, "-m", "sglang.launch_server")
    mark = uuid.uuid4().hex
    ended = subprocess.run(
        [*launch, "--plugin", "cascadia", "--cascade-config", str(path), *more],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, MARK: mark},
        timeout=120,
        check=False,
    )
    ours = [line for line in ended.stderr.splitlines() if line.startswith("cascadia: error: ")]
    assert ended.returncode == 2, ended.stderr[-2000:]
    assert len(ours) == 1
    assert "Traceback" not in ended.stderr
    deadline = time.monotonic() + 5
    while remaining := marked(mark):
        assert time.monotonic() < deadline, remaining
        time.sleep(0.1)
    return ours[0]


def marked(mark: str) -> list[psutil.Process]:
    """Live processes that the start with this mark has begotten."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                processes.append(process)
    return processes


def test_an_unknown_key_is_named_with_its_place(tmp_path: Path) -> None:
    line = run(tmp_path, {**DEMO, "routing": {"treshold": [0.5]}})
    assert "treshold" in line
    assert "$.routing" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--tensor-paralel", "2"), "unrecognized arguments: --tensor-paralel 2"),
        (("--tp-size", "two"), "--tp-size/--tensor-parallel-size: invalid int value: 'two'"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(
    tmp_path: Path, flags: tuple[str, str], named: str
) -> None:
    (tmp_path / "cascade.json").write_text(json.dumps(DEMO))
    cascade = ("--plugin", "cascadia", "--cascade-config", str(tmp_path / "cascade.json"))
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "sglang.launch_server", *cascade, *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert named in line


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_told_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network SGLang asks file after file, for a minute, and ends with a traceback."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    tiers = [{**DEMO["tiers"][0], "model_path": "Qwen/no-such-model"}, DEMO["tiers"][1]]
    line = run(tmp_path, {**DEMO, "tiers": tiers})
    assert "tier small: Qwen/no-such-model is no folder and not in the hub's cache" in line
    assert "http://127.0.0.1:1 does not answer" in line


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in run(tmp_path, DEMO, "--port", str(port))


@pytest.mark.slow
def test_sglang_serve_refuses_in_the_same_way(tmp_path: Path) -> None:
    serve = (str(Path(sys.executable).with_name("sglang")), "serve")
    broken = {**DEMO, "routing": {"thresholds": [0.5, 0.5]}}
    assert "thresholds has 2 numbers, needed: 1" in run(tmp_path, broken, launcher=serve)


def test_one_tokenizer_for_models_of_two_is_refused_with_the_first_difference(
    tmp_path: Path,
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "demo/models/large", other)
    vocabulary = json.loads((other / "tokenizer.json").read_text())
    words = vocabulary["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (other / "tokenizer.json").write_text(json.dumps(vocabulary))
    tiers = [DEMO["tiers"][0], {**DEMO["tiers"][1], "model_path": str(other)}]
    flag = ("--tokenizer-path", str(ROOT / "demo/models/small"))
    line = run(tmp_path, {**DEMO, "tiers": tiers}, *flag)
    assert "--tokenizer-path gives tiers small and large one tokenizer, but theirs differ" in line
    assert "'a'" in line or "'b'" in line


@pytest.mark.slow
def test_a_template_that_takes_no_chat_is_refused_at_the_start_too(tmp_path: Path) -> None:
    def line_of(name: str, template: str | None) -> str:
        """With a large tier that has this template."""
        other = tmp_path / name
        shutil.copytree(ROOT / "demo/models/large", other / "model")
        path = other / "model/chat_template.jinja"
        if template is None:
            path.unlink()
        else:
            path.write_text(template)
        large = {**DEMO["tiers"][1], "model_path": str(other / "model")}
        return run(other, {**DEMO, "tiers": [DEMO["tiers"][0], large]})

    with ThreadPoolExecutor(2) as both:
        broken = both.submit(line_of, "broken", "{{ raise_exception('not so') }}")
        missing = both.submit(line_of, "missing", None)
    assert "tier large: its chat template takes no plain conversation (not so)" in broken.result()
    assert "tier large has no chat template" in missing.result()


@pytest.mark.slow
def test_a_tiers_flag_of_another_type_is_refused_at_the_start_too(tmp_path: Path) -> None:
    tiers = [DEMO["tiers"][0], {**DEMO["tiers"][1], "server_args": {"tp_size": "2"}}]
    line = run(tmp_path, {**DEMO, "tiers": tiers})
    assert "tiers[1].server_args.tp_size is '2', allowed: an integer of at most 64 bits" in line
