"""The tutorials: their commands, copied from the pages and run as a reader would run them."""

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

from demo import MODELS
from demo.tasks.splits import sample
from tests.system.serving import ROOT, Server, free_port

pytestmark = pytest.mark.sglang

PAGES = ROOT / "docs/tutorial"
# A mark that no reader sees, then the fenced commands.
BLOCK = re.compile(r"<!-- (run|serve) -->\n```\n(.*?)\n```\n", re.DOTALL)
PORT = "30000"
TIERS = ("small", "large")
QUESTIONS = 240
# Of one block that does not serve; a server has `Server.wait_until_ready`.
DEADLINE_S = 240


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of a page, and whether they serve until they are stopped."""

    serves: bool
    commands: str


def blocks(page: str) -> list[Block]:
    """The marked commands, in the page's order."""
    marked_blocks = BLOCK.findall((PAGES / page).read_text())
    return [Block(mark == "serve", text) for mark, text in marked_blocks]


class Terminals:
    """A reader's two terminals in one folder: one serves, the commands of the other end."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._server: Server | None = None
        # `python` and `cascadia` are those of the environment that runs the tests.
        programs = folder / "programs"
        programs.mkdir()
        for name, words in (("python", ""), ("cascadia", " -m cascadia_sglang")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
            program.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": path}

    def serve(self, commands: str) -> None:
        """Stop the server that runs, start another and wait until it answers."""
        self.stop()
        log = self._folder / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["bash", "-ec", self._on_our_port(f"exec {commands}")],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._server = Server(process, self._port, log)
        self._server.wait_until_ready()

    def run(self, commands: str) -> str:
        """Run commands to their end; returns what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._on_our_port(commands)],
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

    def _on_our_port(self, commands: str) -> str:
        return commands.replace(PORT, str(self._port))


@pytest.fixture
def own_models(tmp_path: Path) -> Iterator[Terminals]:
    """In a folder with two models without calibrations, and a sample of their questions."""
    for tier in TIERS:
        without = shutil.ignore_patterns("calibration.json")
        shutil.copytree(MODELS / tier, tmp_path / "models" / tier, ignore=without)
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
    terminals = Terminals(tmp_path, free_port())
    try:
        yield terminals
    finally:
        terminals.stop()


def test_the_first_tutorial_shows_an_escalation(demo: Server, tmp_path: Path) -> None:
    terminals = Terminals(tmp_path, demo.port)
    easy, hard, chat, pinned, status = (
        terminals.run(block.commands) for block in blocks("first-cascade.md")
    )
    assert json.loads(easy)["text"].strip() == "afgh"
    assert json.loads(easy)["meta_info"]["cascadia"]["tier"] == "small"
    first, *_, last = json.loads(hard)["meta_info"]["cascadia"]["attempts"]
    assert first["tier"] == "small"
    assert first["reason"] in ("below_threshold", "early_abort")
    assert last["tier"] == "large"
    assert json.loads(hard)["text"].strip() == "123579"
    assert "x-cascadia-tier: large" in chat
    assert "123579" in chat
    assert "x-cascadia-tier: small" in pinned
    assert "123579" not in pinned
    assert json.loads(status)["tiers"][0]["escalated"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_on_own_models_runs_from_start_to_plan(
    own_models: Terminals, tmp_path: Path
) -> None:
    printed = []
    for block in blocks("your-models.md"):
        if block.serves:
            own_models.serve(block.commands)
        else:
            printed.append(own_models.run(block.commands))
    ranked, ranked_status, checked, calibrated, scored, watched, planned = printed
    assert re.search("x-cascadia-(calibrated: false|tier: large)", ranked)
    assert "ranked, 0.30 escalate" in ranked_status
    assert "cascade.yaml is valid: small, large" in checked
    assert calibrated.splitlines()[-1].startswith("target escalation rate at most 0.3: kept")
    assert re.search("x-cascadia-(calibrated: true|tier: large)", scored)
    assert "cascadia_requests_total{" in watched
    assert "reached by" in planned
    assert (tmp_path / "calibration" / "report.md").exists()
