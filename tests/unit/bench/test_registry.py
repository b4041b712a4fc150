"""The registry of the benches: complete, runnable, and the one source of the table."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from fnmatch import fnmatch

import pytest

from bench import RESULTS, ROOT
from bench.benches import BENCHES
from bench.registry import CPU, NEEDS, PROCESSES, Bench, named
from bench.table import with_table

MADE_BEFORE = {shlex.split(command)[0] for bench in BENCHES for command in bench.before}
BENCH_MODULES = sorted({bench.module for bench in BENCHES} | MADE_BEFORE)


def command_modules() -> set[str]:
    """Modules below `bench` that run as a command."""
    modules = set()
    for path in (ROOT / "bench").rglob("*.py"):
        body = ast.parse(path.read_text()).body
        if any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in body):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            modules.add(module.removesuffix(".__main__"))
    return modules - {"bench"}


def test_every_command_is_a_bench_or_named_as_what_one_starts() -> None:
    registered = {*BENCH_MODULES, *PROCESSES}
    assert command_modules() - registered == set()
    assert {name for name in registered if name.startswith("bench.")} - command_modules() == set()


def test_no_name_stands_twice_and_needs_are_known() -> None:
    names = [bench.name for bench in BENCHES]
    assert len(set(names)) == len(names)
    assert {need for bench in BENCHES for need in bench.needs} == {*NEEDS}


def help_of(module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    """What `python -m module --help` prints."""
    is_package = (ROOT / module.replace(".", "/")).is_dir()
    name = f"{module}.__main__" if is_package else module
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 0
    return str(capsys.readouterr().out)


@pytest.mark.parametrize("module", BENCH_MODULES)
def test_a_command_starts_and_knows_every_flag_that_the_registry_gives_it(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    help_text = help_of(module, monkeypatch, capsys)
    module_benches = [bench for bench in BENCHES if bench.module == module]
    words = {
        word
        for bench in module_benches
        for run in (*bench.runs, *bench.smoke)
        for word in shlex.split(run)
    }
    words |= {f"--{name}" for bench in module_benches for name in (*bench.inputs, *bench.may_take)}
    before = [shlex.split(command) for bench in BENCHES for command in bench.before]
    words |= {word for command in before if command[0] == module for word in command[1:]}
    assert {word for word in words if word.startswith("--") and word not in help_text} == set()


def test_every_file_of_results_is_written_by_a_bench() -> None:
    patterns = {pattern for bench in BENCHES for pattern in bench.writes}
    files = [f"results/{path.name}" for path in RESULTS.iterdir()]
    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)] == []


def test_the_table_in_the_document_is_that_of_the_registry() -> None:
    text = (ROOT / "bench" / "README.md").read_text()
    assert text == with_table(text, BENCHES), "run `make docs`"


def test_a_folder_names_all_of_its_benches_in_the_order_of_the_registry() -> None:
    chosen = named(BENCHES, ["real.rank", "real"])
    names = (
        "observe",
        "record",
        "share",
        "rank",
        "judge_quality",
        "hidden",
        "probe",
        "gain",
        "judge_model",
        "drafts",
        "live",
        "early_aborts",
        "calibrations.pair",
        "calibrations.ladder",
        "alarm",
    )
    assert [bench.name for bench in chosen] == [f"real.{name}" for name in names]
    with pytest.raises(ValueError, match="no bench is called rea;"):
        named(BENCHES, ["rea"])


BENCH = Bench(
    name="a.b",
    question="?",
    before=("demo.c --size 3",),
    runs=("", "--fast"),
    smoke=("--smoke", "--fast --smoke"),
    inputs=("trace",),
    may_take=("litellm",),
)


def test_a_whole_run_makes_what_it_reads_and_takes_its_options() -> None:
    given = {"trace": "t.jsonl", "small": "x"}
    assert BENCH.commands(given, ["--seed", "2"]) == [
        ["demo.c", "--size", "3"],
        ["bench.a.b", "--trace", "t.jsonl", "--seed", "2"],
        ["bench.a.b", "--fast", "--trace", "t.jsonl", "--seed", "2"],
    ]
    with_more = BENCH.commands({**given, "litellm": "bin"})
    assert with_more[1] == ["bench.a.b", "--trace", "t.jsonl", "--litellm", "bin"]


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ValueError, match=r"a\.b needs --trace"):
        BENCH.commands({})


def test_a_smoke_run_needs_no_option_and_makes_nothing() -> None:
    assert BENCH.smoke_commands() == [["bench.a.b", "--smoke"], ["bench.a.b", "--fast", "--smoke"]]


def test_what_needs_more_than_a_cpu_takes_an_option_or_is_left_out_of_all() -> None:
    for bench in BENCHES:
        if bench.inputs:
            assert CPU not in bench.needs, bench.name


def test_every_command_that_a_document_names_exists() -> None:
    documents = [
        path
        for folder in ("", "bench", "demo", "docs", "kernels", "patches", "examples")
        for path in (ROOT / folder).glob("*.md")
        if path.name != "CHANGELOG.md"
    ]
    named_in = {
        (document.name, module)
        for document in documents
        for module in re.findall(r"python -m ((?:bench|demo)(?:\.\w+)*)", document.read_text())
    }
    assert len(named_in) > 40
    missing = [
        (document, module)
        for document, module in named_in
        if not (ROOT / module.replace(".", "/")).is_dir()
        and not (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
    ]
    assert missing == []
