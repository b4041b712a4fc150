"""Runs SGLang's own server tests on plain SGLang and on a cascade, and compares the outcomes.

    python -m tests.sglang_server.run --small FOLDER --large FOLDER [PATH ...]

A PATH is a test file or folder of SGLang's repository, outside this one; without any, the tests run
that SGLang's package brings along. Ends with 1 where a test passes on plain SGLang with the small
model and fails on the cascade of the two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

KITS = Path(__file__).with_name("kits.py")


def cascade_of(small: str, large: str) -> dict[str, Any]:
    """Two tiers without a calibration: what the small one says is taken, unless under a grammar.

    Any model's name is taken, as by SGLang.
    """
    return {
        "version": 1,
        "tiers": [
            {"name": "small", "model_path": small},
            {"name": "large", "model_path": large},
        ],
        "routing": {"thresholds": [0.5], "unknown_model": "cascade"},
        "judge": {"record": True, "on_error": "accept"},
    }


def outcomes(report: Path) -> dict[str, str]:
    """By test: passed, failed, error or skipped, of a JUnit report."""
    outcome_by_test = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        outcome_by_test[name] = {"failure": "failed"}.get(
            kind := min(kinds, default="passed"), kind
        )
    return outcome_by_test


def run(
    name: str, tests: list[str], small: str, cascade: Path | None, out: Path, each_s: int
) -> dict[str, str]:
    """Run the tests on one kind of server; the report and the log go to `out`."""
    report = out / f"{name}.xml"
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(out)]
    command += ["-p", "tests.sglang_server.launch", "-p", "no:cacheprovider"]
    command += ["--import-mode=importlib", f"--junitxml={report}", f"--timeout={each_s}"]
    command += ["--server-model", small, "-q", "-rfE", "--tb=short"]
    if cascade is not None:
        command += ["--server-cascade", str(cascade)]
    report.unlink(missing_ok=True)
    with (out / f"{name}.log").open("wb") as log:
        ended = subprocess.run(
            [*command, *tests], stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if not report.exists():
        sys.exit(f"the tests on {name} ended with {ended.returncode} and no report, see {log.name}")
    return outcomes(report)


def table(plain: dict[str, str], cascade: dict[str, str]) -> str:
    """In Markdown, the tests that differ first."""
    names = sorted({*plain, *cascade}, key=lambda n: (plain.get(n) == cascade.get(n), n))
    rows = [f"| {name} | {plain.get(name, '')} | {cascade.get(name, '')} |" for name in names]
    return "\n".join(["| test | plain SGLang | cascade |", "|---|---|---|", *rows, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", default=[str(KITS)], metavar="PATH")
    parser.add_argument("--small", required=True, help="folder of the small tier's model")
    parser.add_argument("--large", required=True, help="folder of the large tier's model")
    parser.add_argument("--out", type=Path, default=Path("sglang-server"), help="folder of reports")
    parser.add_argument("--only", choices=["plain", "cascade"], help="run one kind, read the other")
    parser.add_argument("-k", default="", help="which of the tests, as pytest's -k says it")
    parser.add_argument("--each-s", type=int, default=300, help="the most that one test may take")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = (arguments.out / "cascade.json").resolve()
    file.write_text(json.dumps(cascade_of(arguments.small, arguments.large)))
    kinds: dict[str, dict[str, str]] = {}
    for name, cascade in (("plain", None), ("cascade", file)):
        report = arguments.out / f"{name}.xml"
        if arguments.only in (None, name):
            tests = [*arguments.paths, "-k", arguments.k]
            kinds[name] = run(
                name, tests, arguments.small, cascade, arguments.out, arguments.each_s
            )
        else:
            kinds[name] = outcomes(report) if report.exists() else {}
    (arguments.out / "results.md").write_text(table(kinds["plain"], kinds["cascade"]))
    passing = [name for name, how in kinds["plain"].items() if how == "passed"]
    lost = [name for name in passing if kinds["cascade"].get(name) not in ("passed", None)]
    print(f"{len(passing)} pass on plain SGLang; of these, {len(lost)} fail on the cascade")
    print("\n".join(lost))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
