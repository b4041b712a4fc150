"""Runs the stages one after the other, each within its limit and all within the whole's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT
from bench.gpu_check.bare_machine.pack import COMMIT as COMMIT_FILE
from bench.gpu_check.processes import adopt_orphans, run_for
from bench.gpu_check.results import COMMIT, MACHINE, append_line
from bench.gpu_check.stages import Stage

LOG = "stages.log"
SERVERS = "servers.log"
OUTCOMES = "outcomes.jsonl"

_LEAST_S = 5.0  # a stage with less than this is not begun
_AFTER_S = 6.0  # for the end of the last stage and the summary
_LOG_LINES = 400  # of a server


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a stage: passed, failed, "over its limit" or "left out"."""

    stage: str
    outcome: str
    seconds: float
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What all stages of a run share.

    Attributes:
        out: folder of the results; what is there stays, and is added to.
        pack: folder with what is carried.
        whole_s: of all stages together.
    """

    out: Path
    pack: Path
    dry: bool
    whole_s: float


def run(
    stages: Sequence[Stage],
    settings: Run,
    environment: Callable[[Stage], Mapping[str, str]],
    command: Callable[[Stage, Path, float], Sequence[str]] | None = None,
) -> list[Outcome]:
    """Run the stages, whatever becomes of those before, and write down how each ended.

    Args:
        environment: of a stage's process.
        command: that runs a stage, by its own folder and its limit in seconds; the stage's module
            by default.
    """
    adopt_orphans()
    settings.out.mkdir(parents=True, exist_ok=True)
    ends_at = time.monotonic() + settings.whole_s - _AFTER_S
    outcomes: list[Outcome] = []
    for stage in stages:
        limit_s = stage.limit_dry_s if settings.dry else stage.limit_s
        limit_s = min(limit_s, ends_at - time.monotonic())
        work = settings.out / "work" / stage.name
        started = time.monotonic()
        if limit_s < _LEAST_S:
            outcome = "left out"
        else:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            arguments = (command or _module(settings))(stage, work, limit_s)
            outcome = _run_stage(stage, arguments, limit_s, settings, environment(stage))
            _keep_server_logs(work, settings.out / SERVERS)
            shutil.rmtree(settings.out / "work", ignore_errors=True)
        result = Outcome(
            stage=stage.name,
            outcome=outcome,
            seconds=round(time.monotonic() - started, 1),
            limit_s=round(limit_s, 1),
        )
        outcomes.append(result)
        append_line(settings.out / OUTCOMES, {n: getattr(result, n) for n in result.__slots__})
        print(f"{result.stage}: {result.outcome} after {result.seconds:.1f} s", flush=True)
    return outcomes


def _run_stage(
    stage: Stage,
    command: Sequence[str],
    limit_s: float,
    settings: Run,
    environment: Mapping[str, str],
) -> str:
    with (settings.out / LOG).open("ab") as log:
        log.write(f"==== {stage.name}: {' '.join(command)}\n".encode())
        log.flush()
        code = run_for(command, limit_s, log, environment, ROOT)
    if code is None:
        return "over its limit"
    return "passed" if code == 0 else "failed"


def _module(settings: Run) -> Callable[[Stage, Path, float], Sequence[str]]:
    def command(stage: Stage, work: Path, limit_s: float) -> Sequence[str]:
        words = [sys.executable, "-m", "bench.gpu_check.stage", stage.name]
        words += ["--out", str(settings.out), "--work", str(work), "--pack", str(settings.pack)]
        return [*words, "--limit-s", f"{limit_s:.1f}", *(["--dry"] if settings.dry else [])]

    return command


def _keep_server_logs(work: Path, file_of_ends: Path) -> None:
    """Add the ends of a stage's server logs to the one file that is kept of them."""
    with file_of_ends.open("a", encoding="utf-8") as file:
        for log in sorted(work.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            file.write("\n".join([f"==== {work.name}: {log.name}", *lines, ""]))


def facts_of_run(pack: Path) -> dict[str, str]:
    """The card and the commit, for the stages' environment."""
    from bench.harness.rows import machine

    commit = _said("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if not commit and (pack / COMMIT_FILE).exists():
        commit = (pack / COMMIT_FILE).read_text().strip()
    cards = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return {MACHINE: cards[0] if cards else machine(), COMMIT: commit or "unknown"}


def _said(*command: str) -> str:
    """What a program printed; nothing where it is missing or failed."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""


def default_folder(*, dry: bool) -> Path:
    """Where results go: $OUT, or an ignored folder of the checkout."""
    named = os.environ.get("OUT")
    return Path(named) if named else ROOT / (".gpu-check-dry" if dry else ".gpu-check")
