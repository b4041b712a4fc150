"""The cascade file: what loads, and what is refused with its place."""

import codecs
import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cascadia_sglang.config.cascade_file import (
    build_cascade,
    cascade_from_flags,
    load_cascade,
    load_uncalibrated,
)
from cascadia_sglang.config.routing_settings import DraftsConfig
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.config.speculation import JUDGED_ALGORITHMS, Speculation
from cascadia_sglang.errors import ConfigError

Data = dict[str, Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the models `small` and `large`."""
    monkeypatch.chdir(tmp_path)
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
    (tmp_path / "small" / "calibration.json").write_text("{}")
    return tmp_path


GOOD: Data = {
    "version": 1,
    "tiers": [
        {"name": "small", "model_path": "small", "calibration": "small/calibration.json"},
        {"name": "large", "model_path": "large"},
    ],
    "routing": {"thresholds": [0.8]},
}


def changed(key_path: str, value: Any) -> Data:
    """GOOD with the value at a path of keys, as `tiers.0.name`, replaced."""
    data = copy.deepcopy(GOOD)
    *path, last = key_path.split(".")
    inner: Any = data
    for part in path:
        inner = inner[int(part)] if part.isdigit() else inner.setdefault(part, {})
    inner[int(last) if last.isdigit() else last] = value
    return data


def refusal(data: Any) -> str:
    """What the operator is told."""
    with pytest.raises(ConfigError) as raised:
        build_cascade(data, "cascade file x.yaml")
    text = str(raised.value)
    assert text.startswith("cascade file x.yaml: ")
    assert "\n" not in text
    return text


def test_a_good_file_loads() -> None:
    config = build_cascade(GOOD, "here")
    assert [tier.name for tier in config.tiers] == ["small", "large"]
    assert config.routing.thresholds == [0.8]


def test_a_recording_cascade_needs_no_calibration() -> None:
    data = changed("tiers.0.calibration", None)
    data["judge"] = {"record": True}
    assert build_cascade(data, "here").tiers[0].calibration is None


def test_a_second_judge_has_a_file_of_its_own() -> None:
    data = changed("routing.drafts", {"use": "on", "second_judge": 0.8})
    data["tiers"][1]["draft_calibration"] = "small/calibration.json"
    config = build_cascade(data, "here")
    assert config.draft_calibrations() == {1: "small/calibration.json"}
    assert config.calibrations() == {0: "small/calibration.json"}


@pytest.mark.parametrize(
    ("text", "drafts"),
    [
        ("", DraftsConfig()),
        ("drafts: null", DraftsConfig()),
        ("drafts: auto", DraftsConfig(use="auto")),
        ("drafts: on", DraftsConfig(use="on")),
        ("drafts: off", DraftsConfig(use="off")),
        ("drafts: {low: 0.2}", DraftsConfig(use="off", low=0.2)),
        ("drafts: {use: on, low: 0.2}", DraftsConfig(use="on", low=0.2)),
        ('drafts: {use: "off"}', DraftsConfig(use="off")),
        ("verify: {enabled: auto, low: 0.2}", DraftsConfig(use="auto", low=0.2)),
        ("verify: {enabled: true}", DraftsConfig(use="on")),
        ("verify: {enabled: false}", DraftsConfig(use="off")),
    ],
)
def test_drafts_have_short_forms_and_a_former_name(
    folder: Path, text: str, drafts: DraftsConfig
) -> None:
    data = {**GOOD, "routing": {**GOOD["routing"], **(yaml.safe_load(text) or {})}}
    (folder / "cascade.yaml").write_text(yaml.safe_dump(data))
    assert load_cascade(folder / "cascade.yaml").drafts() == drafts


def test_the_former_name_of_drafts_warns_once_with_the_present_one(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = changed("routing.verify", {"enabled": True, "low": 0.2})
    (folder / "former.json").write_text(json.dumps(data))
    load_cascade(folder / "former.json")
    load_uncalibrated(folder / "former.json")
    assert [record.message for record in caplog.records] == [
        f"cascade file {folder / 'former.json'}: routing.verify is the former name of "
        "routing.drafts; write drafts: {use: 'on', low: 0.2}"
    ]


def test_keys_that_only_ever_held_null_warn_and_do_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = changed("routing.quality_floor", None)
    data["tiers"][1]["reasoning"] = None
    (folder / "null.json").write_text(json.dumps(data))
    (folder / "without.json").write_text(json.dumps(GOOD))
    assert load_cascade(folder / "null.json") == load_cascade(folder / "without.json")
    prefix = f"cascade file {folder / 'null.json'}"
    assert [record.message for record in caplog.records] == [
        f"{prefix}: routing.quality_floor does nothing; remove it",
        f"{prefix}: tiers[1].reasoning does nothing; remove it",
    ]


@pytest.mark.parametrize("value", ["auto", True, []])
@pytest.mark.parametrize("load", [load_cascade, load_uncalibrated])
def test_a_former_name_of_drafts_of_another_type_is_refused(
    folder: Path, load: Callable[[Path], CascadeConfig], value: Any
) -> None:
    (folder / "typed.json").write_text(json.dumps(changed("routing.verify", value)))
    with pytest.raises(ConfigError, match=r"routing\.verify"):
        load(folder / "typed.json")


@pytest.mark.parametrize("load", [load_cascade, load_uncalibrated])
def test_both_names_of_drafts_are_refused(
    folder: Path, load: Callable[[Path], CascadeConfig]
) -> None:
    data = changed("routing.verify", {"enabled": True})
    data["routing"]["drafts"] = "auto"
    (folder / "both.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"routing\.verify is the former name of drafts and both"):
        load(folder / "both.json")


@pytest.mark.parametrize(
    ("name", "value", "use"),
    [
        ("verify", {"enabled": True, "low": 0.3, "high": 0.8}, "on"),
        ("verify", {"enabled": "auto", "low": 0.3, "high": 0.8}, "on"),
        ("verify", {"enabled": False, "low": 0.3, "high": 0.8}, "off"),
        ("drafts", {"use": "on", "low": 0.3, "second_judge": 0.8}, "on"),
        ("drafts", {"use": True}, "on"),
        ("drafts", "auto", "on"),
        ("drafts", False, "off"),
        ("drafts", None, "off"),
        ("drafts", {"low": 0.3}, "off"),
    ],
)
def test_what_is_recorded_goes_all_the_way_and_has_every_draft_read(
    folder: Path, name: str, value: Any, use: str
) -> None:
    data = changed(f"routing.{name}", value)
    # Each of these would keep some prompts from the last tier.
    data["routing"] |= {"entry": "predicted", "entry_model": "nowhere.json"}
    data["routing"] |= {"commit_at_once": 0.5, "max_attempts": 1, "deadline_s": 0.1}
    data["routing"] |= {"escalation_rate": 0.3}
    data["judge"] = {"on_error": "accept"}
    data["tiers"][1]["draft_calibration"] = "small/calibration.json"
    (folder / "cascade.json").write_text(json.dumps(data))
    config = load_uncalibrated(folder / "cascade.json")
    assert config.judge.record
    assert config.judge.on_error == "escalate"
    routing = config.routing
    assert (routing.entry, routing.entry_model, routing.commit_at_once) == ("first", None, None)
    assert (routing.max_attempts, routing.deadline_s) == (4, None)
    assert config.drafts() == DraftsConfig(use=use)
    assert not config.calibrations()
    assert not config.draft_calibrations()


def test_all_tokens_can_be_judged() -> None:
    assert build_cascade(changed("judge.scope", "all"), "here").judge.scope == "all"


@pytest.mark.parametrize(("name", "index"), [("small", 0), ("large", 1), ("other", None)])
def test_a_tier_is_found_by_its_name(name: str, index: int | None) -> None:
    assert build_cascade(GOOD, "here").tier_index(name) == index


@pytest.mark.parametrize(
    ("key_path", "value", "message"),
    [
        ("cascade", {}, "unknown field `cascade`"),
        ("routng", {}, "unknown field `routng`, did you mean routing?"),
        ("tiers.0.modelpath", "x", "`modelpath` - at `$.tiers[0]`, did you mean model_path?"),
        ("routing.gears.flor", 1, "`flor` - at `$.routing.gears`, did you mean floor?"),
        ("tiers.1.reasoning", "on", "unknown field `reasoning` - at `$.tiers[1]`"),
        ("routing.quality_floor", 0.9, "unknown field `quality_floor` - at `$.routing`"),
        ("tiers.1.treshold", 0.5, "unknown field `treshold` - at `$.tiers[1]`"),
        ("routing.treshold", 0.5, "`treshold` - at `$.routing`, did you mean thresholds?"),
        ("routing.verify.low", 1.5, "routing.verify.low is 1.5, allowed: 0 to 1"),
        ("routing.verify.high", -0.5, "routing.verify.high is -0.5, allowed: 0 to 1, or null"),
        ("routing.verify.high", 0.5, "routing.verify.high needs a draft_calibration of a tier"),
        ("tiers.1.draft_calibration", "x.json", "tiers[1].draft_calibration 'x.json' does not"),
        (
            "tiers.0.draft_calibration",
            "small/calibration.json",
            "tiers[0].draft_calibration: the first tier reads no drafts",
        ),
        ("routing.verify.lower", 0.5, "`lower` - at `$.routing.verify`, did you mean low?"),
        ("routing.drafts.low", 1.5, "routing.drafts.low is 1.5, allowed: 0 to 1"),
        ("routing.drafts.second_judge", 2, "routing.drafts.second_judge is 2.0, allowed: 0 to 1"),
        ("routing.drafts.second_judge", 0.5, "routing.drafts.second_judge needs a draft_calib"),
        ("routing.drafts.lower", 0.5, "`lower` - at `$.routing.drafts`, did you mean low?"),
        ("routing.drafts", "always", "Invalid enum value 'always' - at `$.routing.drafts`"),
        ("judge.on_eror", "accept", "`on_eror` - at `$.judge`, did you mean on_error?"),
        ("prefix.warmth", "off", "`warmth` - at `$.prefix`, did you mean warm?"),
        ("planner.budget", 4, "`budget` - at `$.planner`, did you mean gpu_budget?"),
    ],
)
def test_an_unknown_key_is_refused_with_its_place(key_path: str, value: Any, message: str) -> None:
    assert message in refusal(changed(key_path, value))


@pytest.mark.parametrize(
    ("key_path", "value", "message"),
    [
        ("version", "1", "$.version"),
        ("tiers", None, "$.tiers"),
        ("tiers.0.name", 7, "$.tiers[0].name"),
        ("tiers.0.replicas", 1.5, "$.tiers[0].replicas"),
        ("tiers.0.server_args", [], "$.tiers[0].server_args"),
        ("routing.thresholds", 0.8, "$.routing.thresholds"),
        ("routing.thresholds.0", "high", "$.routing.thresholds[0]"),
        ("routing.stream", "instant", "$.routing.stream"),
        ("routing.unknown_model", "guess", "$.routing.unknown_model"),
        ("routing.allow_degraded", "yes", "$.routing.allow_degraded"),
        ("judge.on_error", "ignore", "$.judge.on_error"),
        ("judge.on_constrained", "ignore", "$.judge.on_constrained"),
        ("prefix.warm", "never", "$.prefix.warm"),
        ("planner.objective", "cost", "$.planner.objective"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(
    key_path: str, value: Any, message: str
) -> None:
    assert message in refusal(changed(key_path, value))


@pytest.mark.parametrize(
    ("key_path", "value", "message"),
    [
        ("version", 2, "version is 2, allowed: 1"),
        ("tiers", [], "tiers is empty, needed: at least one"),
        ("planner", {"enabled": True, "profile": "p"}, "planner.gpu_budget is missing, required"),
        ("planner", {"enabled": True, "gpu_budget": 2}, "planner.profile is missing, required"),
        ("planner.interval_s", 0, "planner.interval_s is 0.0, allowed: above 0"),
        ("planner.cooldown_s", -1, "planner.cooldown_s is -1.0, allowed: 0 or more"),
        ("routing.gears", {"floor": 1.5}, "routing.gears.floor is 1.5, allowed: 0 to 1"),
        ("routing.gears", {"steps": 0}, "routing.gears.steps is 0, allowed: 1 or more"),
        ("tiers.0.model_path", "no/such/model", "tiers[0].model_path 'no/such/model' does not"),
        ("tiers.0.model_path", "/no/such", "tiers[0].model_path '/no/such' does not exist"),
        ("tiers.1.model_path", "missing", "tiers[1].model_path 'missing' does not exist"),
        ("tiers.1.model_path", "", "tiers[1].model_path '' does not exist"),
        (
            "tiers.0.calibration",
            None,
            "tiers[0].calibration is missing, required where",
        ),
        ("tiers.0.calibration", "no.json", "tiers[0].calibration 'no.json' does not exist"),
        ("tiers.0.calibration", "small", "tiers[0].calibration 'small' does not exist"),
        ("tiers.1.calibration", "no.json", "tiers[1].calibration 'no.json' does not exist"),
        ("tiers.1.name", "small", "tiers[1].name 'small' is used twice"),
        ("tiers.1.replicas", 0, "tiers[1].replicas is 0, allowed: 1 or more"),
        ("routing.thresholds", [0.5, 0.6], "thresholds has 2 numbers, needed: 1"),
        ("routing.thresholds", [1.01], "routing.thresholds[0] is 1.01, allowed: 0 to 1"),
        ("routing.thresholds", [-0.1], "routing.thresholds[0] is -0.1, allowed: 0 to 1"),
        ("routing.escalation_rate", 0.3, "thresholds and escalation_rate are both given"),
        ("routing", {"escalation_rate": 1.5}, "routing.escalation_rate is 1.5, allowed: 0 to 1"),
        ("routing", {"escalation_rate": -0.1}, "routing.escalation_rate is -0.1, allowed: 0 to 1"),
        ("routing", {"escalation_rate": float("nan")}, "routing.escalation_rate is nan, allowed"),
        ("routing", {"escalation_rate": []}, "routing.escalation_rate has 0 numbers, needed: 1"),
        ("routing", {"escalation_rate": [0.1, 0.2]}, "escalation_rate has 2 numbers, needed: 1"),
        ("routing", {"escalation_rate": [2]}, "routing.escalation_rate[0] is 2.0, allowed: 0 to"),
        ("routing", {"gears": {"enabled": True}}, "routing.gears.enabled needs routing.thresholds"),
        ("routing.thresholds", [float("nan")], "routing.thresholds[0] is nan, allowed: 0 to 1"),
        ("routing.early_abort", 1.5, "routing.early_abort is 1.5, allowed: 0 to 1, or null"),
        ("routing.early_abort", float("nan"), "routing.early_abort is nan"),
        ("routing.entry", "predicted", "routing.entry_model is missing, required where entry is"),
        ("routing.entry_model", "no.json", "routing.entry_model 'no.json' does not exist"),
        ("routing.entry_model", "small", "routing.entry_model 'small' does not exist"),
        ("routing.commit_at_once", 1.5, "routing.commit_at_once is 1.5, allowed: 0 to 1, or null"),
        ("routing.commit_at_once", 0.9, "routing.entry_model is missing, required where commit_"),
        ("routing.deadline_s", 0, "routing.deadline_s is 0.0, allowed: above 0, or null"),
        ("routing.deadline_s", float("nan"), "routing.deadline_s is nan"),
        ("routing.max_attempts", 1, "max_attempts is 1, allowed: 2 or more, one for each tier"),
        ("planner.sample", "s.json", "planner.sample 's.json' does not exist"),
        ("planner.quality_floor", 0.9, "planner.sample is missing, required where quality_floor"),
        ("planner.quality_floor", 1.5, "planner.quality_floor is 1.5, allowed: 0 to 1, or null"),
        ("judge.label_rate", -0.1, "judge.label_rate is -0.1, allowed: 0 to 1, or null"),
        ("calibration", "always", "Invalid enum value 'always' - at `$.calibration`"),
        ("planner.shadow_rate", 1.5, "planner.shadow_rate is 1.5, allowed: 0 to 1, or null"),
        (
            "planner.shadow_rate",
            float("nan"),
            "planner.shadow_rate is nan, allowed: 0 to 1, or null",
        ),
    ],
)
def test_a_value_that_cannot_be_served_is_refused_with_what_is_allowed(
    key_path: str, value: Any, message: str
) -> None:
    assert message in refusal(changed(key_path, value))


@pytest.mark.parametrize(
    "name",
    ["small 1", "", "klein/ö", "a:b", ".hidden", "-x", "x" * 65, "cascadia", "default", "Default"],
)
def test_a_tier_name_is_plain_and_not_one_that_means_the_cascade(name: str) -> None:
    text = refusal(changed("tiers.0.name", name))
    allowed = "allowed: 1 to 64 ASCII letters, digits, '.', '_' and '-', the first a letter or a"
    assert f"tiers[0].name is {name!r}, {allowed}" in text
    assert "'cascadia' and 'default'" in text


@pytest.mark.parametrize("name", ["qwen2.5-7b", "Llama_3.1-8B-Instruct", "7b", "x" * 64])
def test_a_tier_may_have_the_name_of_its_model(name: str) -> None:
    assert build_cascade(changed("tiers.0.name", name), "test").tiers[0].name == name


def test_tiers_do_not_differ_by_upper_and_lower_case_alone() -> None:
    text = refusal(changed("tiers.1.name", "SMALL"))
    assert "tiers[1].name 'SMALL' is used twice" in text


@pytest.mark.parametrize(
    "key",
    [
        "host",
        "port",
        "skip_tokenizer_init",
        "tokenizer_worker_num",
        "enable_metrics",
        "api_key",
        "admin_api_key",
        "ssl_keyfile",
        "served_model_name",
        "model_path",
        "nccl_port",
        "dist_init_addr",
        "nnodes",
        "node_rank",
        "log_level",
        "log_level_http",
        "dp_size",
    ],
)
def test_a_flag_of_the_whole_server_is_no_tiers(key: str) -> None:
    text = refusal(changed(f"tiers.1.server_args.{key}", 1))
    assert f"tiers[1].server_args.{key} belongs to the whole server, not to a tier" in text


@pytest.mark.parametrize("key", ["tp_size", "max_total_tokens", "context_length", "dtype"])
def test_a_flag_of_a_worker_may_be_a_tiers(key: str) -> None:
    config = build_cascade(changed(f"tiers.1.server_args.{key}", 1), "here")
    assert config.tiers[1].server_args == {key: 1}


@pytest.mark.parametrize(
    ("key_path", "value"),
    [
        ("routing.thresholds", [0]),
        ("routing.thresholds", [1]),
        ("routing.early_abort", None),
        ("routing.deadline_s", 0.5),
        ("routing.max_attempts", 2),
        ("prefix.warm", "off"),
        ("tiers.1.model_path", "Qwen/Qwen3-0.6B"),
        ("tiers.1.prompt_suffix", "<think></think>"),
        ("tiers.1.sampling", {"temperature": 0}),
    ],
)
def test_values_at_the_edge_are_served(key_path: str, value: Any) -> None:
    assert build_cascade(changed(key_path, value), "here").version == 1


@pytest.mark.parametrize("entry", ["first", "predicted"])
def test_an_entry_model_may_stand_beside_either_entry(folder: Path, entry: str) -> None:
    (folder / "entry.json").write_text("{}")
    data = changed("routing.entry", entry)
    data["routing"]["entry_model"] = "entry.json"
    assert build_cascade(data, "here").routing.entry == entry


def test_one_tier_alone_is_a_cascade() -> None:
    config = build_cascade({"version": 1, "tiers": [GOOD["tiers"][1]]}, "here")
    assert config.routing.thresholds == []


# Files


def test_yaml_and_json_load_alike(folder: Path) -> None:
    (folder / "cascade.yaml").write_text(yaml.safe_dump(GOOD))
    (folder / "cascade.json").write_text(json.dumps(GOOD))
    config = load_cascade(folder / "cascade.yaml")
    assert config == load_cascade(folder / "cascade.json")
    assert config == build_cascade(GOOD, "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tiers: [", "line 1"),
        (b"\tversion: 1", "cannot start any token"),
        (b"", "Expected `object`, got `null`"),
        (b"- 1", "Expected `object`, got `array`"),
        (b"name: 2024-13-01", "name (line 1): 2024-13-01 is a date in YAML: quote it"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
        (b"version: !!python/object:os.system {}", "could not determine a constructor"),
    ],
    ids=["cut-off", "tab", "empty", "list", "impossible-date", "binary", "tag"],
)
def test_a_file_that_cannot_be_parsed_is_one_line_with_its_name(
    folder: Path, content: bytes, message: str
) -> None:
    path = folder / "cascade.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load_cascade(path)
    assert str(raised.value).startswith(f"cascade file {path}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["cascade.yaml", "cascade.json"])
def test_a_file_may_begin_with_a_byte_order_mark(folder: Path, name: str) -> None:
    (folder / name).write_bytes(codecs.BOM_UTF8 + json.dumps(GOOD).encode())
    assert load_cascade(folder / name) == build_cascade(GOOD, "here")


GOOD_YAML = """version: 1
tiers:
- {name: small, model_path: small, calibration: small/calibration.json}
- name: large
  model_path: large
routing: {thresholds: [0.8]}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "routing:",
            "routing: {thresholds: [0.1]}\nrouting:",
            "routing is given twice (line 7, fi",
        ),
        (
            "model_path: large",
            "name: huge",
            "tiers[1].name is given twice (line 5, first on line 4)",
        ),
        ("name: large", "name: no", "at `$.tiers[1].name`; `no` on line 4 is no text: quote it"),
        ("name: large", "name: 7", "`7` on line 4 is no text: quote it"),
        ("name: large", "name: ~", "`~` on line 4 is no text: quote it"),
        ("name: large", "name: 1e3", "tiers[1].name (line 4): 1e3 is a text in YAML: write a"),
        ("routing:", "prefix: {warm: off}\nrouting:", "`off` on line 6 is no text: quote it"),
        ("[0.8]", "[.nan]", "routing.thresholds[0] (line 6): .nan is no finite number"),
    ],
)
def test_what_yaml_reads_as_something_else_is_one_line(
    folder: Path, old: str, new: str, message: str
) -> None:
    path = folder / "cascade.yaml"
    path.write_text(GOOD_YAML)
    assert load_cascade(path) == build_cascade(GOOD, "here")
    assert GOOD_YAML.count(old) == 1
    path.write_text(GOOD_YAML.replace(old, new))
    for load in (load_cascade, load_uncalibrated):
        with pytest.raises(ConfigError) as raised:
            load(path)
        assert str(raised.value).startswith(f"cascade file {path}: ")
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key_path", "value", "message"),
    [
        ("routing.thresholds.0", "NaN", "routing.thresholds[0] is nan, allowed: 0 to 1"),
        ("routing.deadline_s", "1e999", "routing.deadline_s is inf, allowed: above 0"),
        ("prefix.carry_s", "Infinity", "prefix.carry_s is inf, allowed: 0 or more"),
        ("planner.cooldown_s", "Infinity", "planner.cooldown_s is inf, allowed: 0 or more"),
        ("planner.horizon_s", "Infinity", "planner.horizon_s is inf, allowed: above 0"),
        ("routing.deadline_s", '1, "deadline_s": 2', "routing.deadline_s is given twice (line 1)"),
    ],
)
def test_what_json_holds_is_finite_and_given_once(
    folder: Path, key_path: str, value: str, message: str
) -> None:
    text = json.dumps(changed(key_path, 77777)).replace("77777", value)
    (folder / "cascade.json").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_cascade(folder / "cascade.json")
    assert message in str(raised.value)


def test_a_number_in_json_may_have_an_exponent(folder: Path) -> None:
    text = json.dumps(changed("routing.deadline_s", 0)).replace(": 0}", ": 1e3}")
    (folder / "cascade.json").write_text(text)
    assert load_cascade(folder / "cascade.json").routing.deadline_s == 1000.0


@pytest.mark.parametrize(
    ("name", "message"), [("missing.yaml", "No such file"), ("small", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_one_line_with_its_name(
    folder: Path, name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"cascade file {folder / name}: {message}"):
        load_cascade(folder / name)


def test_the_example_in_the_docstring_loads(folder: Path) -> None:
    text = inspect.getdoc(CascadeConfig)
    assert text is not None
    example = text.partition("```yaml\n")[2].partition("```")[0]
    (folder / "cascade.yaml").write_text(example)
    for tier in yaml.safe_load(example)["tiers"]:
        Path(tier["model_path"]).mkdir(parents=True)
        if "calibration" in tier:
            Path(tier["calibration"]).write_text("{}")
    assert len(load_cascade(folder / "cascade.yaml").tiers) == 2


# Flags


def test_tiers_from_flags_take_the_calibration_beside_the_model() -> None:
    config = cascade_from_flags("small=small,large=large", "0.7")
    assert config == build_cascade(changed("routing.thresholds", [0.7]), "here")


def test_the_last_tier_from_flags_goes_without_the_calibration_beside_it(tmp_path: Path) -> None:
    (tmp_path / "large" / "calibration.json").write_text("{}")
    tiers = cascade_from_flags("small=small,large=large", "0.7").tiers
    assert [tier.calibration for tier in tiers] == ["small/calibration.json", None]


def test_a_single_tier_from_flags_needs_no_threshold() -> None:
    assert cascade_from_flags("large=large", None).routing.thresholds == []


@pytest.mark.parametrize(
    ("tiers", "thresholds", "message"),
    [
        ("small", "0.7", "--cascade-tiers: 'small' is not NAME=PATH"),
        ("small=", "0.7", "--cascade-tiers: 'small=' is not NAME=PATH"),
        ("small=small,,large=large", "0.7", "--cascade-tiers: '' is not NAME=PATH"),
        ("", "0.7", "--cascade-tiers: '' is not NAME=PATH"),
        ("small=small,large=large", "high", "--cascade-thresholds: 'high' is not a list"),
        ("small=small,large=large", "0.7,", "--cascade-thresholds: '0.7,' is not a list"),
        ("small=small,large=large", "nan", "routing.thresholds[0] is nan"),
        ("small=small,large=large", "1.5", "routing.thresholds[0] is 1.5"),
        ("small=small,large=large", "0.7,0.8", "thresholds has 2 numbers, needed: 1"),
        ("large=large,small=small", "0.7", "tiers[0].calibration is missing"),
        ("small=small,small=small", "0.7", "tiers[1].name 'small' is used twice"),
        ("default=small,large=large", "0.7", "tiers[0].name is 'default'"),
        ("small=gone,large=large", "0.7", "tiers[0].model_path 'gone' does not exist"),
    ],
)
def test_malformed_flags_are_one_line_with_the_flag(
    tiers: str, thresholds: str | None, message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        cascade_from_flags(tiers, thresholds)
    assert message in str(raised.value)
    assert "--cascade-" in str(raised.value)
    assert "\n" not in str(raised.value)


# Speculative decoding


def speculative(
    tier: int,
    accept: bool = False,
    calibrated: bool = False,
    algorithm: str = "DFLASH",
    **flags: object,
) -> Data:
    """GOOD with a tier that decodes speculatively, and with or without its calibration."""
    arguments = {"speculative_algorithm": algorithm, **flags}
    data = changed(f"tiers.{tier}.server_args", arguments)
    data["tiers"][tier]["calibration"] = "small/calibration.json" if calibrated else None
    data["judge"] = {"on_error": "accept" if accept else "escalate"}
    return data


@pytest.mark.parametrize(("tier", "accept"), [(1, False), (1, True), (0, True)])
def test_a_tier_without_a_judge_may_decode_by_any_algorithm(tier: int, accept: bool) -> None:
    config = build_cascade(speculative(tier, accept), "here")
    assert [tier_config.hides_logits for tier_config in config.tiers] == [tier == 0, tier == 1]


@pytest.mark.parametrize("algorithm", [*JUDGED_ALGORITHMS, "ngram"])
@pytest.mark.parametrize("tier", [0, 1])
def test_a_tier_is_judged_under_algorithms_that_show_their_logits(
    tier: int, algorithm: str
) -> None:
    data = speculative(tier, calibrated=True, algorithm=algorithm, speculative_num_draft_tokens=6)
    data["judge"]["record"] = True
    config = build_cascade(data, "here")
    assert not config.tiers[tier].hides_logits
    expected = Speculation(algorithm=algorithm.upper(), draft_tokens=6)
    assert config.tiers[tier].speculation == expected


@pytest.mark.parametrize("value", [None, {}, {"speculative_algorithm": None}])
def test_without_an_algorithm_a_tier_is_not_speculative(value: Data | None) -> None:
    config = build_cascade(changed("tiers.1.server_args", value or {}), "here")
    assert config.tiers[1].speculation is None
    assert not config.tiers[1].hides_logits


PLACE = "tiers[{}].server_args.speculative_algorithm DFLASH"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (speculative(0), PLACE.format(0) + " leaves its answers without a score; allowed: on the"),
        (speculative(1, calibrated=True), PLACE.format(1) + " hides the tier's logits, so it"),
        (
            {**speculative(1), "judge": {"record": True}},
            PLACE.format(1) + " hides the tier's logits, so judge.record cannot",
        ),
        (speculative(0, algorithm="NGRAM"), "tiers[0].calibration is missing"),
        (
            speculative(0, True, True, "EAGLE", speculative_accept_threshold_acc=0.9),
            "tiers[0].server_args.speculative_accept_threshold_acc is 0.9, allowed beside a judge",
        ),
        (
            speculative(1, True, True, "EAGLE3", pp_size=2),
            "tiers[1].server_args.pp_size is 2, allowed beside a judge and speculative decoding: 1",
        ),
    ],
    ids=["escalate", "calibration", "record", "uncalibrated", "lax", "stages"],
)
def test_speculative_decoding_that_hides_what_a_judge_needs_is_refused(
    data: Data, message: str
) -> None:
    assert message in refusal(data)


def test_a_tier_without_a_judge_may_accept_loosely() -> None:
    data = speculative(1, algorithm="EAGLE", speculative_accept_threshold_single=0.8)
    assert not build_cascade(data, "here").tiers[1].hides_logits
