"""Rows: one CSV line a number, newer ones replace older ones of the same key."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import Facts, Row, command_line, make_row, save_rows

FACTS = Facts(
    machine="2 cores",
    commit="abc",
    dirty=False,
    torch="2",
    sglang="0.5",
    date_utc="2026-01-01T00:00Z",
    command="python -m bench",
)


def row(case: str, value: Estimate) -> Row:
    return make_row(FACTS, bench="b", case=case, variant="v", metric="m", unit="ms", value=value)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_the_fields_in_order(tmp_path: Path) -> None:
    save_rows(tmp_path / "r.csv", [row("a", spread([1.0, 2.0, 3.0]))])
    header = (tmp_path / "r.csv").read_text().splitlines()[0]
    assert header == (
        "bench,case,variant,metric,unit,p50,p20,p80,low95,high95,n,"
        "machine,commit,dirty,torch,sglang,date_utc,command"
    )


def test_a_row_of_the_same_key_is_replaced_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.csv"
    save_rows(path, [row("a", spread([1.0])), row("b", spread([2.0]))])
    save_rows(path, [row("a", spread([3.0]))])
    assert {r["case"]: float(r["p50"]) for r in read(path)} == {"a": 3.0, "b": 2.0}


def test_numbers_keep_five_digits_and_absent_ones_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    save_rows(path, [row("a", Estimate(p50=1234.5678, n=9, low95=0.123456789))])
    (saved,) = read(path)
    assert (saved["p50"], saved["low95"], saved["p20"]) == ("1234.6", "0.12346", "")


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["--trace", "/data/of/me/azure.csv"], "--trace azure.csv"),
        (["--trace=/data/azure.csv", "--smoke"], "--trace=azure.csv --smoke"),
        (["--large", "/models/qwen/"], "--large qwen/"),
        (["--trace", "data/azure.csv", "--per-gpu", "0.1"], "--trace data/azure.csv --per-gpu 0.1"),
        (["--model", "Qwen/Qwen3-8B"], "--model Qwen/Qwen3-8B"),
    ],
)
def test_a_command_holds_no_folder_of_this_machine(arguments: list[str], written: str) -> None:
    assert command_line("bench.x", arguments) == f"python -m bench.x {written}"


def test_no_row_holds_a_folder_of_a_machine() -> None:
    held = re.compile(r"[ =]/(?:root|home|tmp|work)/\S+")
    files = [path for path in sorted(RESULTS.iterdir()) if path.suffix in (".csv", ".md")]
    assert len(files) > 20
    assert [path.name for path in files if held.search(path.read_text())] == []
