"""JSON and YAML that people write: keys that are given twice, and what readers disagree on."""

import codecs
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.calibration.record.sample import read_sample
from cascadia_sglang.errors import CalibrationError, ConfigError
from cascadia_sglang.files.json_text import DuplicateKeyError, json_data
from cascadia_sglang.files.struct_file import load_struct
from cascadia_sglang.files.yaml_text import read_data, yaml_data
from cascadia_sglang.planner.problem.problem import read_problem
from cascadia_sglang.planner.simulation.scenario import load_scenario

KEYS = st.text(alphabet='ab"\\:{}[],é\n', min_size=1, max_size=4)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(alphabet='x"\\{}[]:,\n'))
DATA = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(DATA, st.sampled_from([None, 1]))
def test_data_without_duplicates_is_read_as_it_was_written(data: Any, indent: int | None) -> None:
    text = json.dumps(data, indent=indent)
    assert json_data(text.encode()) == data
    assert json_data(codecs.BOM_UTF8 + text.encode()) == data
    assert yaml_data(yaml.safe_dump(data, allow_unicode=True)).data == data


@given(data=DATA, wraps=st.lists(KEYS | st.integers(0, 2), max_size=5), key=KEYS, others=DATA)
def test_a_key_given_twice_is_found_at_any_depth(
    data: Any, wraps: list[str | int], key: str, others: Any
) -> None:
    """An object with a key twice, inside of objects (a key) and lists (a number of items)."""
    written = json.dumps(key)
    text = f"{{{written}: {json.dumps(others)},\n{written}: {json.dumps(data)}}}"
    key_path = key
    for wrap in reversed(wraps):
        if isinstance(wrap, str):
            text = f"{{{json.dumps(wrap)}: {text}}}"
            key_path = wrap + (key_path if key_path.startswith("[") else f".{key_path}")
        else:
            before = "".join(f"{json.dumps(others)}, " for _ in range(wrap))
            text = f"[{before}{text}]"
            key_path = f"[{wrap}]" + (key_path if key_path.startswith("[") else f".{key_path}")
    message = f"{key_path.removeprefix('.')} is given twice (line 2, first on line 1)"
    with pytest.raises(DuplicateKeyError) as in_json:
        json_data(text.encode())
    with pytest.raises(ValueError, match="is given twice") as in_yaml:
        yaml_data(text)
    if not any(isinstance(wrap, str) and wrap.startswith("[") for wrap in [*wraps, key]):
        assert str(in_json.value) == message
        assert str(in_yaml.value) == message


def test_a_key_that_a_merge_brings_may_be_given_again() -> None:
    text = "base: &base {x: 1, y: 2}\nown: {<<: *base, x: 3}\nagain: {<<: *base, y: 4}\n"
    data = yaml_data(text).data
    assert (data["own"], data["again"]) == ({"x": 3, "y": 2}, {"x": 1, "y": 4})
    with pytest.raises(ValueError, match=r"own.x is given twice \(line 2\)"):
        yaml_data(text.replace("x: 3", "x: 3, x: 4"))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("1_000", "1_000 is a number with '_'"),
        ("1_000.5", "1_000.5 is a number with '_'"),
        ("0x1_0", "0x1_0 is a number with '_'"),
        ("017", "017 is an octal number"),
        ("0b101", "0b101 is a binary number"),
        ("1:30", "1:30 is a number to the base 60"),
        ("190:20:30.15", "190:20:30.15 is a number to the base 60"),
        ("0o17", "0o17 is a text"),
        ("1e3", "1e3 is a text"),
        ("-2E-5", "-2E-5 is a text"),
        ("-.5", "-.5 is a text"),
        ("2024-05-10", "2024-05-10 is a date"),
        (".inf", ".inf is no finite number"),
        ("-.INF", "-.INF is no finite number"),
        (".nan", ".nan is no finite number"),
        ("1.0e+999", "1.0e+999 is no finite number"),
    ],
)
def test_what_yaml_readers_disagree_on_is_refused_with_its_place(written: str, says: str) -> None:
    with pytest.raises(ValueError, match="line 3") as caught:
        yaml_data(f"tiers:\n- {{name: x}}\n- limit: {written}\n")
    assert str(caught.value).startswith(f"tiers[1].limit (line 3): {says}")
    for quoted in (f"'{written}'", f'"{written}"'):
        assert yaml_data(f"limit: {quoted}").data == {"limit": written}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0", 0),
        ("-15", -15),
        ("0x1F", 31),
        ("0.5", 0.5),
        ("1.0e+3", 1000.0),
        (".5", 0.5),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("demo/models/small", "demo/models/small"),
        ("qwen2.5-7b", "qwen2.5-7b"),
        ("127.0.0.1:30000", "127.0.0.1:30000"),
        ("max_total_tokens", "max_total_tokens"),
        ("a1:30", "a1:30"),
        ("_", "_"),
    ],
)
def test_plain_scalars_are_what_they_were(written: str, value: Any) -> None:
    data = yaml_data(f"limit: {written}").data
    assert data == {"limit": value}
    assert type(data["limit"]) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a {b: [*a]}", r"a.b\[0\] contains itself \(line 1\)"),
        ("[" * 1_200, "nested too deeply"),
        ("a: [1", "line 1"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
    ],
    ids=["cycle", "deep", "cut-off", "tag"],
)
def test_yaml_that_cannot_be_read_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        yaml_data(text)
    assert "\n" not in str(caught.value)


def test_many_aliases_are_looked_at_once() -> None:
    """Nine levels of nine aliases each are 387 million values when looked at one by one."""
    lines = ["l0: &l0 [1]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert yaml_data("\n".join(lines)).data["l1"] == [[1]] * 9


class Item(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: dict[str, int] = {}


def test_struct_files_have_each_key_once_and_may_begin_with_a_byte_order_mark(
    tmp_path: Path,
) -> None:
    path = tmp_path / "item.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{"name": "x"}')
    assert load_struct(path, Item, "item").name == "x"
    path.write_text('{"name": "x",\n"inner": {"a": 1,\n"b": 2, "a": 3}}')
    with pytest.raises(ConfigError) as caught:
        load_struct(path, Item, "item")
    assert str(caught.value) == f"item {path}: inner.a is given twice (line 3, first on line 2)"
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="item"):
        load_struct(path, Item, "item")


def test_a_problem_and_a_sample_have_each_key_once(tmp_path: Path) -> None:
    path = tmp_path / "problem.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{"tiers": [], "gpu_budget": 8, "gpu_budget": 9}')
    with pytest.raises(ConfigError) as caught:
        read_problem(path)
    assert str(caught.value) == f"problem {path}: gpu_budget is given twice (line 1)"
    path.write_bytes(codecs.BOM_UTF8 + b'{"tiers": [], "gpu_budget": 8}')
    assert read_problem(path).gpu_budget == 8
    sample = tmp_path / "set.jsonl"
    sample.write_bytes(codecs.BOM_UTF8 + b'{"id": "1", "prompt": "x"}\n')
    assert read_sample(sample)[0].prompt == "x"
    sample.write_text('{"id": "1", "prompt": "x"}\n{"id": "2", "prompt": "x", "prompt": "y"}\n')
    with pytest.raises(CalibrationError, match="line 2: prompt is given twice"):
        read_sample(sample)


def test_a_plan_has_each_key_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"objective_s": 1, "setup": {"version": 1,\n"version": 1}}')
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    message = "setup.version is given twice (line 2, first on line 1)"
    assert str(caught.value) == f"plan {path}: {message}"


def test_a_file_whose_name_ends_in_json_is_json(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('{"a": 1e3, "b": "no"}')
    assert read_data(path, "file").data == {"a": 1000.0, "b": "no"}
    path.write_text("a: 1")
    with pytest.raises(ConfigError, match=f"file {path}: "):
        read_data(path, "file")
