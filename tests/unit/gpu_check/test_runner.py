"""The runner of gpu-check: limits, ends of stages, choice, rows, summary; without pack or card."""

import csv
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import ROOT
from bench.gpu_check import runner
from bench.gpu_check.processes import descendants
from bench.gpu_check.results import ROWS, STEPS, Check, facts_of_stage, read_lines
from bench.gpu_check.stages import STAGES, WHOLE_S, chosen, limits_s
from bench.gpu_check.summary import SUMMARY, write_summary

# Ignores SIGTERM, and leaves a child in a session of its own, as a server is.
HANGS = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=True)
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""
# Ends at once; what it has started does not.
LEAVES = """
import subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=True)
open(sys.argv[1], "w").write(str(child.pid))
"""


# A runner ends all that descends from its process, so it has one of its own here.
RUNS = """
import json, os, pathlib, sys
from bench.gpu_check import runner
from bench import ROOT
from bench.gpu_check.stages import Stage
folder, told = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
runner._LEAST_S, runner._AFTER_S = 0.2, 0.0
stages = [
    Stage(name=name, module=name, limit_s=limit_s, limit_dry_s=limit_s, what=name)
    for name, limit_s, _ in told["stages"]
]
scripts = {name: script for name, _, script in told["stages"]}
command = lambda one, *_: [sys.executable, "-c", scripts[one.name], str(folder / one.name)]
settings = runner.Run(out=folder / "out", pack=folder, dry=False, whole_s=told["whole_s"])
found = runner.run(stages, settings, lambda _: os.environ, command)
print(json.dumps({one.stage: one.outcome for one in found}))
"""


def ran(tmp_path: Path, *stages: tuple[str, float, str], whole_s: float = 60.0) -> dict[str, str]:
    """Outcomes by stage of a run of stages: name, limit in seconds, script."""
    plan = json.dumps({"stages": stages, "whole_s": whole_s})
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(tmp_path), plan],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


def is_there(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_stage_that_hangs_is_ended_with_its_children_and_the_next_begins(tmp_path: Path) -> None:
    outcomes = ran(tmp_path, ("hangs", 3.0, HANGS), ("next", 30.0, "print('ran')"))
    assert outcomes == {"hangs": "over its limit", "next": "passed"}
    pids = [int(word) for word in (tmp_path / "hangs").read_text().split()]
    assert len(pids) == 2
    assert [pid for pid in pids if is_there(pid)] == []
    assert "ran" in (tmp_path / "out" / runner.LOG).read_text()


def test_what_a_stage_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    assert ran(tmp_path, ("leaves", 30.0, LEAVES)) == {"leaves": "passed"}
    assert not is_there(int((tmp_path / "leaves").read_text()))


def test_a_stage_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    outcomes = ran(tmp_path, ("fails", 30.0, "raise SystemExit(1)"), ("next", 30.0, ""))
    assert outcomes == {"fails": "failed", "next": "passed"}


def test_the_whole_ends_in_its_time_and_names_what_it_left_out(tmp_path: Path) -> None:
    outcomes = ran(tmp_path, ("hangs", 600.0, HANGS), ("next", 600.0, ""), whole_s=3.0)
    assert outcomes == {"hangs": "over its limit", "next": "left out"}
    hung, left_out = read_lines(tmp_path / "out" / runner.OUTCOMES)
    assert hung["seconds"] < 15.0
    assert left_out["seconds"] == 0.0


def test_outcomes_and_server_logs_are_kept_as_stages_end(tmp_path: Path) -> None:
    script = "import pathlib; pathlib.Path('{}').write_text('ready to serve')"
    log = tmp_path / "out" / "work" / "serves" / "server.log"
    ran(tmp_path, ("serves", 30.0, script.format(log)))
    assert "ready to serve" in (tmp_path / "out" / runner.SERVERS).read_text()
    (line,) = read_lines(tmp_path / "out" / runner.OUTCOMES)
    assert (line["stage"], line["outcome"]) == ("serves", "passed")
    assert not (tmp_path / "out" / "work").exists()


def test_limits_leave_room_within_the_whole() -> None:
    assert limits_s(STAGES, dry=False) <= 430.0
    assert WHOLE_S == 480.0


def test_stages_are_chosen_by_name_in_their_order_and_need_the_setup() -> None:
    assert [stage.name for stage in chosen("drafts, kernels")] == ["setup", "kernels", "drafts"]
    assert chosen("") == STAGES


def test_every_stage_has_its_module() -> None:
    modules = [f"bench.gpu_check.checks.{stage.module}" for stage in STAGES]
    assert [module for module in modules if find_spec(module) is None] == []


def test_an_unknown_stage_is_named_beside_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"STAGES names draft; there are setup, kernels.*drafts"):
        chosen("draft")


def check_of(tmp_path: Path, name: str = "kernels") -> Check:
    return Check(
        stage=name,
        out=tmp_path,
        work=tmp_path,
        dry=True,
        ends_at=time.monotonic() + 60.0,
        facts=facts_of_stage("make gpu-check"),
    )


def test_every_step_is_on_disk_when_it_is_known(tmp_path: Path) -> None:
    check = check_of(tmp_path)
    check.number("B=1", "cascadia", "device time", "us", 12.5)
    check.passes("rows equal float64", False, worst=0.5)
    check.note("machine", python="3.12")
    check.number("B=8", "cascadia", "device time", "us", 13.5)
    lines = list(read_lines(tmp_path / STEPS))
    assert [line["kind"] for line in lines] == ["number", "check", "note", "number"]
    assert lines[1]["worst"] == 0.5
    rows = list(csv.DictReader((tmp_path / ROWS).open(newline="")))
    assert [(row["bench"], row["case"], row["p50"]) for row in rows] == [
        ("gpu_check.kernels", "B=1", "12.5"),
        ("gpu_check.kernels", "B=8", "13.5"),
    ]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / STEPS).write_text(json.dumps({"stage": "x"}) + '\n{"stage": "y')
    assert list(read_lines(tmp_path / STEPS)) == [{"stage": "x"}]


def test_the_summary_tells_numbers_and_what_did_not_pass(tmp_path: Path) -> None:
    check = check_of(tmp_path)
    check.passes("of an earlier run", False)
    check.number("B=1", "cascadia", "device time", "us", 12.5)
    check.passes("rows equal float64", False, worst=0.5)
    check.passes("the kernel tests pass", True)
    outcomes = [
        runner.Outcome(stage="kernels", outcome="failed", seconds=3.2, limit_s=60.0),
        runner.Outcome(stage="drafts", outcome="left out", seconds=0.0, limit_s=0.1),
    ]
    text = write_summary(tmp_path, outcomes, earlier=1)
    assert (tmp_path / SUMMARY).read_text() == text
    assert "kernels: B=1: cascadia: device time 12.5 us" in text
    assert "kernels: NOT PASSED: rows equal float64: worst 0.5" in text
    assert "of an earlier run" not in text
    assert "| kernels | failed | 3.2 | 60 | 1 | 1 of 2 |" in text
    assert "| drafts | left out | 0.0 | 0 | 0 | 0 of 0 |" in text


def test_descendants_are_found_by_the_kernels_own_table() -> None:
    assert os.getpid() in descendants(os.getppid())


def test_the_document_tells_every_stage_and_its_limit() -> None:
    text = (ROOT / "bench" / "README.md").read_text()
    assert [
        stage.name for stage in STAGES if f"| `{stage.name}` | {stage.limit_s:.0f} |" not in text
    ] == []
