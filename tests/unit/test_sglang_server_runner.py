"""How SGLang's own server tests are run on a cascade: commands, reports and the table."""

import json
import sys
from pathlib import Path

import pytest

from tests.sglang_server.launch import command_of
from tests.sglang_server.run import cascade_of, outcomes, table

OF_TEST = ["sglang", "serve", "--model-path", "hub/name", "--tool-call-parser", "qwen25"]
START = [sys.executable, "-m", "sglang.launch_server"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    return str(tmp_path)


def test_a_server_of_a_test_becomes_ours_under_the_name_that_the_test_knows(model: str) -> None:
    rest = ["--served-model-name", "hub/name", "--tool-call-parser", "qwen25"]
    rest += ["--max-total-tokens", "16384", "--context-length", "2048"]
    rest += ["--mem-fraction-static", "0.7"]
    assert command_of(OF_TEST, "hub/name", model, None) == [*START, "--model-path", model, *rest]
    ours = ["--plugin", "cascadia", "--cascade-config", "c.json"]
    assert command_of(OF_TEST, "hub/name", model, "c.json") == [*START, *ours, *rest]


def test_the_limits_of_a_test_hold(model: str) -> None:
    flags = ["--max-total-token", "1536", "--context-len", "8192", "--mem-fraction-static", "0.5"]
    command = command_of([*OF_TEST, *flags], "hub/name", model, None)
    assert command[-len(flags) :] == flags


def test_a_report_says_how_each_test_ended(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="a.b.TestC" name="test_1"/>'
        '<testcase classname="a.b.TestC" name="test_2"><failure/></testcase>'
        '<testcase classname="a.b.TestC" name="test_3"><skipped/></testcase>'
        '<testcase classname="a.b.TestC" name="test_4"><error/></testcase>'
        "</testsuite></testsuites>"
    )
    outcome_by_test = outcomes(report)
    assert outcome_by_test == {
        "TestC.test_1": "passed",
        "TestC.test_2": "failed",
        "TestC.test_3": "skipped",
        "TestC.test_4": "error",
    }


def test_the_table_begins_with_the_tests_that_differ() -> None:
    rows = table({"a": "passed", "b": "passed"}, {"a": "passed", "b": "failed"}).splitlines()
    assert rows[2:] == ["| b | passed | failed |", "| a | passed | passed |"]


def test_the_cascade_takes_the_small_tiers_answers_and_any_models_name() -> None:
    cascade = cascade_of("one", "two")
    assert [tier["model_path"] for tier in cascade["tiers"]] == ["one", "two"]
    assert cascade["judge"] == {"record": True, "on_error": "accept"}
    assert cascade["routing"]["unknown_model"] == "cascade"
