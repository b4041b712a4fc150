"""`cascadia serve` with the real server: it answers, and a SIGTERM ends all that it started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cascadia_sglang.cli import main
from tests.system.serving import ROOT, Server, free_port

pytestmark = [pytest.mark.sglang, pytest.mark.slow]


def test_a_file_that_init_wrote_is_served_by_the_commands_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    port, log, file = free_port(), tmp_path / "server.log", tmp_path / "cascade.yaml"
    models = ("demo/models/large", "demo/models/small")
    assert main(["init", *models, "--output", str(file)]) == 0
    words = ("serve", str(file), "--port", str(port), "--max-total-tokens", "65536")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cascadia_sglang", *words],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    server = Server(process, port, log)
    try:
        server.wait_until_ready()
        assert f"{file} is valid: small, large" in log.read_text()
        with server.client() as client:
            body = {"text": "rev hgfa", "sampling_params": {"temperature": 0}}
            assert client.post("/generate", json=body).json()["text"].startswith("afgh")
        family = server.family()
        assert len(family) > 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        _, remaining = psutil.wait_procs(family, timeout=10)
        assert remaining == []
    finally:
        server.stop()
