"""Changes the modules that decide, bit by bit, and counts the changes that their tests notice.

A change that no test notices survives: a test is missing, or the change means the same. Those that
mean the same are named in `equivalent.py`, and do not count. Cosmic Ray makes the changes, in an
environment of its own; this project's runs the tests, in a copy of the working tree.

Example:
    python -m tests.mutants.run --tool .venv/.cosmic-ray-8.7.0/bin/cosmic-ray
    python -m tests.mutants.run --tool PATH --module cascadia_sglang/acceptance.py
"""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.equivalent import is_equivalent

ROOT = Path(__file__).resolve().parents[2]
# A module, and the tests of its rules.
TESTS = {
    "cascadia_sglang/router/accept_or_escalate.py": [
        "tests/unit/router/test_accept_or_escalate.py"
    ],
    "cascadia_sglang/acceptance.py": ["tests/unit/test_acceptance.py"],
    "cascadia_sglang/controller/decision.py": ["tests/unit/controller/test_decision.py"],
    "cascadia_sglang/capacity/ordering.py": ["tests/unit/capacity/test_ordering.py"],
}
# Share of a module's changes that its tests notice at least.
TARGET = 0.9
# A change that makes a test run for so long is noticed too.
TIMEOUT_S = 60.0
# Of the plugins that are installed those that the settings name: the rest take two seconds.
PLUGINS = (
    *("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider"),
    *("-p", "tests.mutants.unshrunk"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A change and what became of it; of a survivor the line that was changed."""

    operator: str
    row: int
    line: str
    is_noticed: bool
    diff: str


def mutants(tool: Path, module: str, folder: Path) -> list[Mutant]:
    """Run a module's tests once for every change.

    Args:
        folder: a copy of the working tree, in which the changes are made.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-x", *PLUGINS, *TESTS[module]]
    (folder / "mutants.toml").write_text(
        f'[cosmic-ray]\nmodule-path = ["{module}"]\ntimeout = {TIMEOUT_S}\n'
        f"excluded-modules = []\ntest-command = '{shlex.join(command)}'\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
    )
    paths = (folder, folder / "kernels", folder / "patches")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }

    def call(words: Sequence[str]) -> None:
        subprocess.run(words, cwd=folder, env=environment, check=True)

    call(command)
    session = folder / "mutants.sqlite"
    session.unlink(missing_ok=True)
    call([str(tool), "init", "mutants.toml", session.name])
    _skip_annotations(session, folder / module)
    call([str(tool), "exec", "mutants.toml", session.name])
    return list(_results(session, folder / module))


def _skip_annotations(session: Path, module: Path) -> None:
    """Leave out changes of annotations, which nothing evaluates."""
    annotated: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        places = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            places.append(node.value)  # an alias of a type
        for place in places:
            if isinstance(place, ast.expr) and place.end_col_offset is not None:
                columns = range(place.col_offset, place.end_col_offset)
                annotated |= {(place.lineno, column) for column in columns}
    with sqlite3.connect(session) as database:
        rows = database.execute("SELECT job_id, start_pos_row, start_pos_col FROM mutation_specs")
        skipped = [(job,) for job, row, column in rows.fetchall() if (row, column) in annotated]
        database.executemany(
            "INSERT INTO work_results (worker_outcome, job_id) VALUES ('SKIPPED', ?)", skipped
        )


def _results(session: Path, module: Path) -> Iterator[Mutant]:
    lines = module.read_text().splitlines()
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "SELECT operator_name, start_pos_row, test_outcome, diff FROM mutation_specs "
            "JOIN work_results USING (job_id) WHERE worker_outcome != 'SKIPPED' "
            "ORDER BY start_pos_row, operator_name"
        ).fetchall()
    for operator, row, outcome, diff in rows:
        yield Mutant(
            operator=operator.removeprefix("core/"),
            row=row,
            line=lines[row - 1].strip(),
            is_noticed=outcome != "SURVIVED",
            diff=diff or "",
        )


def _copy(folder: Path) -> None:
    """The files of the working tree that git knows."""
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "cascadia_sglang",
            "kernels",
            "patches",
            "tests",
            "pyproject.toml",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


def main() -> None:
    """Run, print the table and the survivors; exit code 1 where a module misses the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", type=Path, required=True, help="Cosmic Ray's command")
    parser.add_argument("--module", choices=TESTS, nargs="+", default=list(TESTS))
    args = parser.parse_args()
    lines = ["| module | changes | mean the same | noticed | share |", "|---|---|---|---|---|"]
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder)
        for module in args.module:
            made = mutants(args.tool.absolute(), module, folder)
            same = [mutant for mutant in made if is_equivalent(mutant.operator, mutant.line)]
            counted = [mutant for mutant in made if mutant not in same]
            noticed = sum(mutant.is_noticed for mutant in counted)
            share = noticed / len(counted)
            missed |= share < TARGET
            lines.append(
                f"| `{module}` | {len(made)} | {len(same)} | {noticed} | {100 * share:.1f} % |"
            )
            for mutant in counted:
                if not mutant.is_noticed:
                    print(f"{module}:{mutant.row}: {mutant.operator} survives\n{mutant.diff}\n")
    print("\n".join(lines))
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
