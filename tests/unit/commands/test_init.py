"""`cascadia init`: a valid file with what the models' files tell, or one line and no file."""

from pathlib import Path

import pytest

from cascadia_sglang.cli import main
from cascadia_sglang.config.cascade_file import load_cascade
from tests.unit.model_checks.small_models import PLAIN, write_model

# Where SGLang sees a toggle of the reasoning, as Qwen3's template has it.
THINKING = (
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str) -> int:
    return main(["init", *words])


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert init(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not Path("cascade.yaml").exists()
    return captured.err.removeprefix("cascadia init: ").strip()


def test_tiers_stand_in_order_of_size_under_their_models_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(folder / "models" / "Big-8B", hidden=64)
    write_model(folder / "models" / "small_0.5b", hidden=16)
    write_model(folder / "models" / "mid (2)", hidden=32)
    assert init("models/Big-8B", "models/small_0.5b", "models/mid (2)") == 0
    config = load_cascade(Path("cascade.yaml"))
    assert [tier.name for tier in config.tiers] == ["small_0.5b", "mid-2", "Big-8B"]
    assert [tier.model_path for tier in config.tiers] == [
        *("models/small_0.5b", "models/mid (2)", "models/Big-8B")
    ]
    assert config.routing.escalation_rate == 0.3
    output = capsys.readouterr().out
    rows = [line.split() for line in output.splitlines() if " of the host" in line]
    assert [row[0] for row in rows] == ["small_0.5b", "mid-2", "Big-8B"]
    assert [row[-2] for row in rows] == ["self", "self", "-"]
    assert output.endswith(
        "cascade.yaml is written. Next:\n"
        "    cascadia serve cascade.yaml\n"
        "    cascadia calibrate cascade.yaml --data sample.jsonl --out calibration\n"
    )
    assert main(["validate", "cascade.yaml"]) == 0


def test_the_file_says_what_it_is_and_what_each_tier_takes(folder: Path) -> None:
    write_model(folder / "small")
    write_model(folder / "large", hidden=32)
    assert init("small", "large") == 0
    text = Path("cascade.yaml").read_text()
    assert "#   this host, " in text
    assert "1.60 K" in text  # parameters of the small one
    assert "# tool_call_parser: not found in the chat template of small, large; see" in text
    assert "# thresholds: [0.9]" in text
    assert "# calibration: calibration/small.json" in text


def test_parsers_that_sglang_finds_in_every_template_stand_in_every_tier(folder: Path) -> None:
    write_model(folder / "small", template=THINKING + PLAIN)
    write_model(folder / "large", template=THINKING + PLAIN, hidden=32)
    assert init("small", "large") == 0
    parsers = {"tool_call_parser": "qwen", "reasoning_parser": "qwen3"}
    config = load_cascade(Path("cascade.yaml"))
    assert [tier.server_args for tier in config.tiers] == [parsers, parsers]
    assert main(["validate", "cascade.yaml"]) == 0


# As Qwen2.5's template writes tools and calls; SGLang's rules for templates know no such format.
QWEN25_CALLS = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>For each call, return a json object within "
    "<tool_call></tool_call>{% endif %}{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n"
    "{% if message.tool_calls %}{% for call in message.tool_calls %}"
    '<tool_call>\n{{ \'{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}' }}\n</tool_call>{% endfor %}"
    "{% else %}{{ message.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HERMES_CALLS = QWEN25_CALLS.replace("<tool_call>\n{{", "<tool_call>{{").replace(
    "\n</tool_call>{% endfor", "</tool_call>{% endfor"
)
# A format of nobody's.
OWN_CALLS = QWEN25_CALLS.replace("<tool_call>\n", "<own>\n").replace("\n</tool_call>", "\n</own>")


@pytest.mark.parametrize(
    ("template", "parser"),
    [(QWEN25_CALLS, "qwen"), (HERMES_CALLS, "hermes"), (OWN_CALLS, None), (PLAIN, None)],
)
def test_a_parser_is_found_that_reads_calls_as_the_template_writes_them(
    folder: Path, template: str, parser: str | None
) -> None:
    write_model(folder / "small", template=template)
    write_model(folder / "large", template=template, hidden=32)
    assert init("small", "large") == 0
    expected = {} if parser is None else {"tool_call_parser": parser}
    config = load_cascade(Path("cascade.yaml"))
    assert [tier.server_args for tier in config.tiers] == [expected, expected]
    assert main(["validate", "cascade.yaml"]) == 0
    text = Path("cascade.yaml").read_text()
    assert "# reasoning_parser: not found" in text
    assert ("# tool_call_parser: not found" in text) is (parser is None)


def test_every_tier_has_the_parsers_of_its_own_template(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(folder / "small")
    write_model(folder / "large", template=THINKING + PLAIN, hidden=32)
    assert init("small", "large") == 0
    output = capsys.readouterr().out
    assert "voice large: tiers large, unlike small: another chat template" in output
    config = load_cascade(Path("cascade.yaml"))
    parsers = {"tool_call_parser": "qwen", "reasoning_parser": "qwen3"}
    assert [tier.server_args for tier in config.tiers] == [{}, parsers]
    text = Path("cascade.yaml").read_text()
    assert "# tool_call_parser: not found in the chat template of small; see" in text


def test_models_that_do_not_fit_one_device_are_spread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(folder / "small")
    write_model(folder / "large", hidden=32)
    sizes = {"small": 1e9, "large": 30e9}
    for module in ("memory.fit", "init_file.models", "memory.tier_table"):
        monkeypatch.setattr(
            f"cascadia_sglang.{module}.weight_bytes", lambda folder, _: sizes[folder.name]
        )
    assert init("small", "large", "--gpus", "4", "--gpu", "L4") == 0
    config = load_cascade(Path("cascade.yaml"))
    assert [tier.server_args for tier in config.tiers] == [{}, {"tp_size": 2}]
    sizes["large"] = 300e9
    Path("cascade.yaml").unlink()
    assert init("small", "large", "--gpus", "4", "--gpu", "L4") == 2


def test_names_are_told_apart(folder: Path) -> None:
    write_model(folder / "a" / "model")
    write_model(folder / "b" / "model", hidden=32)
    write_model(folder / "c" / "default", hidden=64)
    assert init("a/model", "b/model", "c/default") == 0
    names = [tier.name for tier in load_cascade(Path("cascade.yaml")).tiers]
    assert names == ["model", "model-2", "default-model"]


def test_a_name_that_yaml_reads_as_a_number_is_quoted(folder: Path) -> None:
    write_model(folder / "1e3")
    write_model(folder / "on", hidden=32)
    assert init("1e3", "on") == 0
    assert [tier.name for tier in load_cascade(Path("cascade.yaml")).tiers] == ["1e3", "on"]


def test_a_file_elsewhere_names_its_models_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(folder / "small")
    write_model(folder / "large", hidden=32)
    (folder / "other").mkdir()
    assert init("small", "large", "--output", "other/c.yaml") == 0
    monkeypatch.chdir(folder / "other")
    assert main(["validate", "c.yaml"]) == 0
    monkeypatch.chdir(folder)
    assert main(["validate", "other/c.yaml"]) == 0


def test_a_file_that_exists_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(folder / "small")
    write_model(folder / "large", hidden=32)
    (folder / "mine.yaml").write_text("mine")
    text = refusal(capsys, "small", "large", "--output", "mine.yaml")
    assert text == "mine.yaml exists; give another --output"
    assert (folder / "mine.yaml").read_text() == "mine"
    text = refusal(capsys, "small", "large", "--output", "no/such/c.yaml")
    assert text == "folder no/such does not exist"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small"], "a cascade needs two models or more"),
        (["small", "small"], "small is given twice"),
        (["small", "/no/such"], "/no/such is neither a folder nor a hub name, of the form owner/m"),
        (["small", "empty"], "empty holds no model: config.json is missing"),
        (["small", "bare"], "tier bare: bare holds no weights (*.safetensors"),
        (
            ["small", "asks"],
            "tier asks: its chat template takes no plain conversation (no); ",
        ),
    ],
)
def test_models_that_one_server_cannot_serve_are_refused_and_no_file_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    write_model(folder / "small")
    (folder / "empty").mkdir()
    write_model(folder / "bare", hidden=32)
    (folder / "bare" / "model.safetensors").unlink()
    write_model(folder / "asks", template="{{ raise_exception('no') }}", hidden=32)
    assert refusal(capsys, *words).startswith(message)
