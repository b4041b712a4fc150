"""The tutorial on one's own models: its commands, copied as they stand, on two small models."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.ladder.export import LADDER
from bench.ladder.splits import sample
from tests.system.serving import ROOT, Server, free_port

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

PAGE = ROOT / "docs/tutorial/your-models.md"
# A mark that no reader sees, then the fenced commands.
BLOCK = re.compile(r"<!-- (run|serve) -->\n```\n(.*?)\n```\n", re.DOTALL)
PORT = "30000"
TIERS = ("small", "large")
QUESTIONS = 240
# Of one block; a server has `Server.wait_until_ready`.
DEADLINE_S = 150


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of the page, and whether they serve until they are stopped."""

    serves: bool
    commands: str


def blocks() -> list[Block]:
    """The marked commands, in the page's order."""
    return [Block(mark == "serve", text) for mark, text in BLOCK.findall(PAGE.read_text())]


class Terminals:
    """A reader's two terminals: one serves, the commands of the other end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._server: Server | None = None
        # `python` and `cascadia` of the environment that runs the tests.
        programs = folder / "programs"
        programs.mkdir()
        for name, words in (("python", ""), ("cascadia", " -m cascadia_sglang")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
            program.chmod(0o755)
        self._environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        }

    def serve(self, commands: str) -> None:
        """Stop the server that runs, start another and wait until it answers."""
        self.stop()
        log = self._folder / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["bash", "-ec", self._here(f"exec {commands}")],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._server = Server(process, self._port, log)
        self._server.wait_until_ready()

    def run(self, commands: str) -> str:
        """Run commands to their end; what they print. A failure is told with its output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._here(commands)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        """Stop the server, if one runs."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _here(self, commands: str) -> str:
        """The commands on a port that is free on this machine."""
        return commands.replace(PORT, str(self._port))


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    """In a folder with two models without calibrations, and a sample of their questions."""
    for tier in TIERS:
        without = shutil.ignore_patterns("calibration.json")
        shutil.copytree(LADDER / tier, tmp_path / "models" / tier, ignore=without)
    rows = sample("calibration", 3, QUESTIONS, ("add", "mul", "count"))
    lines = [
        {
            "id": str(number),
            "messages": [{"role": "user", "content": row.prompt}],
            "reference": row.answer,
        }
        for number, row in enumerate(rows)
    ]
    (tmp_path / "sample.jsonl").write_text("\n".join(map(json.dumps, lines)))
    opened = Terminals(tmp_path)
    try:
        yield opened
    finally:
        opened.stop()


def test_the_tutorial_on_own_models_runs_as_it_is_written(
    terminals: Terminals, tmp_path: Path
) -> None:
    printed = []
    for block in blocks():
        if block.serves:
            terminals.serve(block.commands)
        else:
            printed.append(terminals.run(block.commands))
    ranked, first_status, checked, calibrated, answered, watched, planned = printed
    assert "x-cascadia-calibrated: false" in ranked
    assert "ranked, 0.30 escalate" in first_status
    assert "cascade.yaml is valid: small, large" in checked
    assert calibrated.splitlines()[-1].startswith("target escalation rate at most 0.3: kept")
    assert "x-cascadia-tier: " in answered
    assert "x-cascadia-calibrated: true" in answered or "x-cascadia-tier: large" in answered
    assert "cascadia_requests_total{" in watched
    assert "reached by" in planned
    assert (tmp_path / "calibration" / "report.md").exists()
