"""Which tiers are asked and read in the same way."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers.pre_tokenizers import WhitespaceSplit

from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.folders import tier_models
from cascadia_sglang.model_checks.voices import voices_of
from tests.unit.model_checks.small_models import PLAIN, WORDS, write_model

OTHER_WORDS = ("<unk>", "<eos>", "world", "hello", "Paris", "in")


def grouped(*tiers: str | tuple[str, dict[str, Any]], **flags: Any) -> Voices:
    """The voices of tiers `t0`, `t1` and so on, each a path, or a path and `server_args`."""
    pairs = [(tier, {}) if isinstance(tier, str) else tier for tier in tiers]
    config = CascadeConfig(
        version=1,
        tiers=[
            TierConfig(name=f"t{index}", model_path=path, server_args=server_args)
            for index, (path, server_args) in enumerate(pairs)
        ],
    )
    return voices_of(tier_models(config, flags), flags.get("tokenizer_path"))


def shape(voices: Voices) -> list[tuple[tuple[int, ...], int]]:
    """Tiers and tokenizer of every voice."""
    return [(voice.tiers, voice.tokenizer) for voice in voices.all]


def refusal(*tiers: Any, **flags: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        grouped(*tiers, **flags)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture
def small(tmp_path: Path) -> str:
    return write_model(tmp_path / "small")


def test_models_of_one_family_have_one_voice(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large", hidden=32)
    voices = grouped(small, large, small)
    assert voices.is_one
    assert shape(voices) == [((0, 1, 2), 0)]
    assert voices.all[0].difference == ""
    assert voices == Voices.single(["t0", "t1", "t2"])


def test_another_vocabulary_is_another_tokenizer(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large", words=OTHER_WORDS)
    voices = grouped(small, large)
    assert shape(voices) == [((0,), 0), ((1,), 1)]
    assert voices.all[1].difference == "another tokenizer (token 'hello' is 2 and 3)"


def test_tiers_of_one_voice_need_not_lie_side_by_side(small: str, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", words=OTHER_WORDS)
    assert shape(grouped(small, other, small, other)) == [((0, 2), 0), ((1, 3), 1)]


@pytest.mark.parametrize(
    "difference",
    [
        {"words": (*WORDS, "more")},
        {"tokenizer_config": {"eos_token": {"content": "hello"}}},
        {"pre_tokenizer": WhitespaceSplit()},
    ],
    ids=["a-token-more", "another-special-token", "other-cuts"],
)
def test_what_makes_another_tokenizer(
    small: str, tmp_path: Path, difference: dict[str, Any]
) -> None:
    voices = grouped(small, write_model(tmp_path / "large", **difference))
    assert [voice.tokenizer for voice in voices.all] == [0, 1]


def test_a_tokenizer_in_another_notation_is_the_same(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large")
    file = tmp_path / "large" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=7))
    assert grouped(small, large).is_one


def test_another_template_is_another_voice_of_the_same_tokenizer(
    small: str, tmp_path: Path
) -> None:
    large = write_model(tmp_path / "large", template=PLAIN.replace("<{{", "[{{"))
    voices = grouped(small, large)
    assert shape(voices) == [((0,), 0), ((1,), 0)]
    assert voices.all[1].difference == (
        "another chat template (at character 1, '<system>You answer in on' and "
        "'[system>You answer in on')"
    )


def test_a_template_in_other_words_is_another_voice(small: str, tmp_path: Path) -> None:
    """Some conversation may tell the two apart, so each tier is asked by its own."""
    large = write_model(tmp_path / "large", template="{# the same #}" + PLAIN)
    voices = grouped(small, large)
    assert shape(voices) == [((0,), 0), ((1,), 0)]
    assert voices.all[1].difference == "another chat template"


def test_other_sampling_defaults_are_another_voice(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large", generation={"temperature": 0.6})
    voices = grouped(small, large)
    assert shape(voices) == [((0,), 0), ((1,), 0)]
    assert voices.all[1].difference == (
        "other defaults in generation_config.json (temperature is absent and 0.6)"
    )
    assert grouped(small, large, sampling_defaults="openai").is_one


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("tool_call_parser", "qwen25"),
        ("reasoning_parser", "deepseek-r1"),
        ("chat_template", "chatml"),
        ("default_chat_template_kwargs", {"enable_thinking": False}),
        ("preferred_sampling_params", {"top_k": 20}),
    ],
)
def test_a_flag_of_one_tier_alone_is_another_voice(small: str, flag: str, value: Any) -> None:
    voices = grouped(small, (small, {flag: value}))
    assert shape(voices) == [((0,), 0), ((1,), 0)]
    assert f"{flag} is None and {value!r}" in voices.all[1].difference
    assert grouped(small, small, **{flag: value}).is_one


def test_a_tiers_own_tokenizer_path_counts(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large", words=OTHER_WORDS)
    assert grouped(small, (large, {"tokenizer_path": small})).is_one
    assert shape(grouped(small, (small, {"tokenizer_path": large}))) == [((0,), 0), ((1,), 1)]


def test_one_tokenizer_path_for_models_of_other_tokenizers_is_refused(
    small: str, tmp_path: Path
) -> None:
    large = write_model(tmp_path / "large", words=OTHER_WORDS)
    assert refusal(small, large, tokenizer_path=small) == (
        "--tokenizer-path gives tiers t0 and t1 one tokenizer, but theirs differ: token 'hello' is "
        "2 and 3; set tokenizer_path in a tier's server_args"
    )
    assert grouped(small, small, tokenizer_path=large).is_one


def test_a_model_that_takes_images_is_another_voice(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large")
    file = tmp_path / "large" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vision_config": {}}))
    voices = grouped(small, large)
    assert shape(voices) == [((0,), 0), ((1,), 0)]
    assert voices.all[1].difference == "other media"


def test_a_template_that_takes_no_plain_conversation_is_refused(small: str, tmp_path: Path) -> None:
    strict = "{{ raise_exception('only users may speak') }}"
    large = write_model(tmp_path / "large", template=strict)
    assert refusal(small, large) == (
        "tier t1: its chat template takes no plain conversation (only users may speak); give it "
        "another, chat_template"
    )
    broken = write_model(tmp_path / "broken", template="{% for %}")
    assert refusal(small, broken).startswith("tier t1: its chat template takes no plain ")
    assert shape(grouped(small, (broken, {"chat_template": "chatml"}))) == [((0,), 0), ((1,), 0)]


def test_a_template_without_a_system_message_is_taken(small: str, tmp_path: Path) -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    large = write_model(tmp_path / "large", template=strict + PLAIN)
    assert shape(grouped(small, large)) == [((0,), 0), ((1,), 0)]


def test_a_tier_without_a_template_beside_one_with_is_refused(small: str, tmp_path: Path) -> None:
    large = write_model(tmp_path / "large", template=None)
    assert refusal(small, large) == ("tier t1 has no chat template; give it one, chat_template")
    assert grouped(large, write_model(tmp_path / "other", template=None, hidden=32)).is_one


def test_tiers_are_found_by_voice_and_tokenizer(small: str, tmp_path: Path) -> None:
    asked_otherwise = (small, {"tool_call_parser": "qwen25"})
    other = write_model(tmp_path / "other", words=OTHER_WORDS)
    voices = grouped(small, asked_otherwise, other)
    assert [voices.of_tier(tier).name for tier in range(3)] == ["t0", "t1", "t2"]
    assert [voices.share_tokenizer(0, tier) for tier in range(3)] == [True, True, False]
    assert voices.tiers_of_tokenizer(0) == {0, 1}
    assert [voice.name for voice in voices.leaders] == ["t0", "t2"]
