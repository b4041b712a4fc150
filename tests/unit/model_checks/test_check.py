"""What the models of a cascade are refused for, and warned of, before they are loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.config.voices import voice_lines
from cascadia_sglang.entry.model import vocabulary_fingerprint
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.check import check_models
from cascadia_sglang.models import local_files as hub
from tests.unit.model_checks.small_models import PLAIN, WORDS, write_model


def checked(
    small: str,
    large: str,
    *,
    small_flags: dict[str, Any] | None = None,
    large_flags: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    vocabulary: str | None = None,
    is_here: bool = True,
) -> list[str]:
    """What is reported of the voices of two models."""
    tiers = [
        TierConfig(name="small", model_path=small, server_args=small_flags or {}),
        TierConfig(name="large", model_path=large, server_args=large_flags or {}),
    ]
    config = CascadeConfig(version=1, tiers=tiers)
    voices = check_models(config, flags or {}, vocabulary=vocabulary, is_here=is_here)
    return voice_lines(voices, config)


def refusal(small: str, large: str, **more: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        checked(small, large, **more)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture(autouse=True)
def a_hub_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the hub answers at all is looked at in test_hub_check."""
    monkeypatch.setattr("cascadia_sglang.models.hub_check._refusal", lambda _: None)


@pytest.fixture
def small(tmp_path: Path) -> str:
    return write_model(tmp_path / "small")


def test_models_of_one_family_are_served_without_a_word(small: str, tmp_path: Path) -> None:
    assert checked(small, write_model(tmp_path / "large", hidden=32)) == []
    assert checked(small, small) == []


# Files


def test_a_folder_without_a_model_is_refused(small: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    text = refusal(small, str(tmp_path / "empty"))
    assert text == f"tier large: {tmp_path / 'empty'} holds no model: config.json is missing"


def test_a_folder_without_weights_is_refused_unless_they_are_made_up(
    small: str, tmp_path: Path
) -> None:
    large = write_model(tmp_path / "large")
    (tmp_path / "large" / "model.safetensors").unlink()
    assert f"tier large: {large} holds no weights (*.safetensors, " in refusal(small, large)
    assert checked(small, large, is_here=False) == []
    assert checked(small, large, flags={"load_format": "dummy"}) == []


def test_a_missing_file_of_weights_is_named(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large")
    files = {"a": "model.safetensors", "b": "model-2.safetensors", "c": "model-3.safetensors"}
    index = {"metadata": {}, "weight_map": files}
    (tmp_path / "large" / "model.safetensors.index.json").write_text(json.dumps(index))
    text = refusal(small, large)
    assert text == (
        f"tier large: {large} lacks 2 of 3 files of weights, the first is model-2.safetensors"
    )


def test_a_model_of_the_hub_is_fetched_but_for_its_weights(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[Any] = []

    def download(name: str, allow_patterns: list[str]) -> None:
        downloads.append((name, allow_patterns))
        write_model(tmp_path / "cache", template=None)
        monkeypatch.setattr(
            hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "cache" / "config.json")
        )

    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(hub, "snapshot_download", download)
    assert "tier large has no chat template" in refusal(small, "somebody/large")
    assert downloads == [("somebody/large", ["*.json", "*.jinja", "tokenizer*", "*.txt"])]


def test_a_model_of_which_the_cache_holds_the_configuration_alone_is_fetched(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    shutil.copy(Path(small) / "config.json", tmp_path / "cache")
    cached = str(tmp_path / "cache" / "config.json")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: cached)
    fetched: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> None:
        del allow_patterns
        fetched.append(name)
        shutil.rmtree(tmp_path / "cache")
        write_model(tmp_path / "cache")

    monkeypatch.setattr(hub, "snapshot_download", download)
    for _ in range(2):
        assert checked(small, "somebody/large") == []
    assert fetched == ["somebody/large"]


def test_a_model_that_the_hub_does_not_give_is_refused_in_one_line(
    small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, allow_patterns: list[str]) -> None:
        del name, allow_patterns
        raise OSError("no network\nand more")

    monkeypatch.setattr(hub, "snapshot_download", download)
    text = refusal(small, "nobody/has-this-model")
    assert text == "nobody/has-this-model is no folder, and not on the hub: no network"
    assert checked(small, "nobody/has-this-model", is_here=False) == []


# Tokenizers


def test_a_broken_tokenizer_is_refused(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large")
    (tmp_path / "large" / "tokenizer.json").write_text("{}")
    assert refusal(small, large).startswith(f"tier large: {large}/tokenizer.json: ")


def test_a_model_without_a_tokenizer_is_refused(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large")
    (tmp_path / "large" / "tokenizer.json").unlink()
    text = refusal(small, large, is_here=False)
    assert text.startswith(f"tier large: {large} holds no tokenizer (tokenizer.json, *.model, ")


def test_an_entry_model_of_another_vocabulary_is_refused(small: str) -> None:
    fingerprint = vocabulary_fingerprint({word: index for index, word in enumerate(WORDS)})
    assert checked(small, small, vocabulary=fingerprint) == []
    text = refusal(small, small, vocabulary="0123")
    assert text == (
        f"entry model: fitted on the vocabulary 0123, but tier small has {fingerprint}; "
        "fit it again"
    )


# Chat templates


@pytest.mark.parametrize(
    ("branch", "kind"),
    [
        ("{% if messages[0].role != 'system' %}You are Q.{% endif %}", "without a system message"),
        ("{% if enable_thinking is false %}<think></think>{% endif %}", "enable_thinking: false"),
        (
            "{% for m in messages %}{{ m.reasoning_content }}{% endfor %}",
            "an answer with its reasoning",
        ),
    ],
)
def test_a_rare_branch_that_differs_is_named(
    small: str, tmp_path: Path, branch: str, kind: str
) -> None:
    _, line = checked(small, write_model(tmp_path / "large", template=branch + PLAIN))
    assert kind in line


def test_a_template_that_the_operator_gives_all_tiers_is_not_compared(
    small: str, tmp_path: Path
) -> None:
    large = write_model(tmp_path / "large", template=PLAIN.replace("<{{", "[{{"))
    (tmp_path / "own.jinja").write_text(PLAIN)
    template_flags = {"chat_template": str(tmp_path / "own.jinja")}
    assert checked(small, large, flags=template_flags) == []
    assert checked(small, large, small_flags=template_flags, large_flags=template_flags) == []
    assert checked(small, large, flags={"chat_template": "chatml"}) == []


@pytest.mark.parametrize(
    ("flag", "path"),
    [
        ("chat_template", "own.jinja"),
        ("completion_template", "folder/own"),
        ("speculative_draft_model_path", "/no/such/model"),
    ],
)
def test_a_file_that_a_flag_names_must_exist(small: str, flag: str, path: str) -> None:
    assert (
        refusal(small, small, flags={flag: path}) == f"tier small: {flag} {path!r} does not exist"
    )


def test_special_tokens_that_a_template_writes_count(tmp_path: Path) -> None:
    template = "{{ eos_token }}" + PLAIN
    small = write_model(tmp_path / "small", template=template)
    assert checked(small, write_model(tmp_path / "large", template=template, hidden=32)) == []


def test_templates_are_found_where_transformers_finds_them(small: str, tmp_path: Path) -> None:
    listed = [{"name": "default", "template": PLAIN}, {"name": "rag", "template": "[{{ eos }}]"}]
    for number, templates in enumerate((PLAIN, listed)):
        folder = tmp_path / f"in-config-{number}"
        model = write_model(folder, template=None, tokenizer_config={"chat_template": templates})
        assert checked(small, model) == []
    named = tmp_path / "in-config-1"
    named_template = {"hf_chat_template_name": "rag"}
    assert "another chat template" in checked(small, str(named), flags=named_template)[1]
    text = refusal(str(named), small, flags={"hf_chat_template_name": "none"})
    assert text == f"tier small: {named} has no chat template 'none', it has: default, rag"
    processor = tmp_path / "processor"
    model = write_model(processor, template="not this one")
    (processor / "chat_template.json").write_text(json.dumps({"chat_template": PLAIN}))
    assert checked(small, model) == []
    more = tmp_path / "more"
    model = write_model(more)
    (more / "additional_chat_templates").mkdir()
    shutil.copy(more / "chat_template.jinja", more / "additional_chat_templates" / "tool_use.jinja")
    assert checked(small, model) == []


# Voices


def test_tiers_of_two_voices_are_named_with_how_they_differ(small: str, tmp_path: Path) -> None:
    words = ("<unk>", "<eos>", "world", "hello", "Paris", "in")
    large = write_model(tmp_path / "large", words=words)
    assert checked(small, large) == [
        "voice small: tiers small",
        "voice large: tiers large, unlike small: another tokenizer (token 'hello' is 2 and 3)",
    ]


def test_a_model_that_is_not_here_is_taken_to_have_the_first_voice(small: str) -> None:
    assert checked(small, "somebody/large", is_here=False) == []


def test_a_flag_that_a_server_has_once_cannot_differ(small: str) -> None:
    text = refusal(small, small, large_flags={"completion_template": "deepseek_coder"})
    assert text == (
        "tiers[1].server_args.completion_template is 'deepseek_coder', but None in tier small: a "
        "server has it once; give every tier the same"
    )
