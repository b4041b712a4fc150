"""The table of SGLang's flags, read from its source, beside SGLang itself."""

import argparse
import typing
from typing import Any

import msgspec
import pytest
from sglang.srt.arg_groups.arg_utils import _unwrap_annotated
from sglang.srt.server_args import ServerArgs

from cascadia_sglang.config.refused_flags import check_tier_flags
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.launch.flag_table import Flag, flag_table
from cascadia_sglang.testing.engine import make_cascade

FIELDS = {field.name: field for field in msgspec.structs.fields(ServerArgs)}


@pytest.fixture(scope="module")
def table() -> dict[str, Flag]:
    return flag_table()


@pytest.fixture(scope="module")
def actions() -> dict[str, argparse.Action]:
    """The options of SGLang's own command line by their spelling."""
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    return dict(parser._option_string_actions)


def test_it_has_every_field_of_sglangs_server_args(table: dict[str, Flag]) -> None:
    assert table.keys() == FIELDS.keys()


def test_every_default_of_sglang_may_stand_in_a_file(table: dict[str, Flag]) -> None:
    refused = {
        name: (field.default, table[name].allowed_instead(field.default))
        for name, field in FIELDS.items()
        if field.default is not msgspec.NODEFAULT
        and table[name].allowed_instead(field.default) is not None
    }
    assert refused == {}


def test_plain_types_are_those_of_sglangs_annotations(table: dict[str, Flag]) -> None:
    examples = {int: 7, float: 0.5, str: "x", bool: True}
    hints = typing.get_type_hints(ServerArgs, include_extras=True)
    checked = 0
    for name, flag in table.items():
        kind, _ = _unwrap_annotated(hints[name])
        members = set(typing.get_args(kind)) if typing.get_origin(kind) is typing.Union else {kind}
        plain = members - {type(None)}
        if not plain <= examples.keys() or flag.choices is not None:
            continue
        checked += 1
        for example_kind, example in examples.items():
            may = example_kind in plain or (example_kind is int and float in plain)
            assert (flag.allowed_instead(example) is None) == may, (name, example)
        assert (flag.allowed_instead(None) is None) == (type(None) in members), name
    assert checked > 400


def test_choices_are_those_of_sglangs_command_line(
    table: dict[str, Flag], actions: dict[str, argparse.Action]
) -> None:
    differ = {
        name
        for name, flag in table.items()
        if flag.choices is not None
        and flag.options
        and set(flag.choices) - {None} != set(actions[flag.options[0]].choices or ()) - {None}
    }
    assert differ == set()
    assert sum(flag.choices is not None for flag in table.values()) > 60


def test_options_are_those_of_sglangs_command_line(
    table: dict[str, Flag], actions: dict[str, argparse.Action]
) -> None:
    for name, flag in table.items():
        for option in flag.options:
            assert actions[option].dest == name
            assert (actions[option].nargs == 0) == flag.is_switch, name
            assert (actions[option].nargs in ("+", "*", "?")) == flag.takes_many, name
    assert sum(bool(flag.options) for flag in table.values()) > 500


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("tp_size", "2", "an integer of at most 64 bits"),
        ("tp_size", 2.0, "an integer of at most 64 bits"),
        ("tp_size", True, "an integer of at most 64 bits"),
        ("tp_size", None, "an integer of at most 64 bits"),
        ("max_total_tokens", "64k", "an integer of at most 64 bits or null"),
        ("mem_fraction_static", "0.5", "a finite number that fits 32 bits or null"),
        ("disable_radix_cache", "yes", "true or false"),
        ("disable_radix_cache", 1, "true or false"),
        ("chat_template", ["x"], "a string or null"),
        ("cuda_graph_bs_decode", 8, "a flat list of integers or null"),
        ("dtype", "bf16", "one of 'auto', 'half', 'float16', 'bfloat16', 'float', 'float32'"),
        ("lora_eviction_policy", "lfu", "one of 'lru', 'fifo'"),
        ("tool_call_parser", "hermess", "one of 'auto', 'apertus2509', "),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(
    table: dict[str, Flag], flag: str, value: Any, allowed: str
) -> None:
    config = make_cascade("small", "large")
    large = msgspec.structs.replace(config.tiers[1], server_args={flag: value})
    config = msgspec.structs.replace(config, tiers=[config.tiers[0], large])
    with pytest.raises(ConfigError) as raised:
        check_tier_flags(config, table)
    expected = f"tiers[1].server_args.{flag} is {value!r}, allowed: {allowed}"
    assert str(raised.value).startswith(expected)
