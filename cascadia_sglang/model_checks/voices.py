"""Groups the tiers of a cascade into voices, by the files of their models and their flags."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import read_json_object
from cascadia_sglang.model_checks.chat_template import ChatTemplate, chat_template_of
from cascadia_sglang.model_checks.conversations import (
    plain_difference,
    plain_refusal,
    rare_difference,
)
from cascadia_sglang.model_checks.folders import TierModel
from cascadia_sglang.model_checks.sampling_defaults import differing_defaults, sampling_defaults
from cascadia_sglang.model_checks.tokenizer import (
    LoadedTokenizer,
    difference,
    have_equal_files,
    load_tokenizer,
)
from cascadia_sglang.models.local_files import local_folder

# Flags by which SGLang loads a tokenizer in another way.
_TOKENIZER_FLAGS = ("tokenizer_mode", "tokenizer_backend")
# Flags by which it writes prompts and reads answers.
_FLAGS = (
    "chat_template",
    "hf_chat_template_name",
    "default_chat_template_kwargs",
    "tool_call_parser",
    "reasoning_parser",
    "preferred_sampling_params",
)
# Keys of a `config.json` whose model takes more than text.
_SENSES = ("vision_config", "audio_config", "thinker_config")


@dataclass(slots=True, kw_only=True)
class _Tokenizer:
    """The tokenizer of a tier, loaded when it is first compared with another.

    Attributes:
        tier: name of the tier.
        path: folder or hub name that it is loaded from.
        flags: that change how it is loaded.
    """

    tier: str
    path: str
    folder: Path | None
    flags: dict[str, Any]
    loaded: LoadedTokenizer | None = None

    def difference(self, other: "_Tokenizer") -> str | None:
        """How another one differs, in words; None where it does not."""
        for flag, value in self.flags.items():
            if value != other.flags[flag]:
                return f"{flag} is {value!r} and {other.flags[flag]!r}"
        if self.path == other.path or have_equal_files(self.folder, other.folder):
            return None
        return difference(self._load(), other._load())

    def _load(self) -> LoadedTokenizer:
        if self.loaded is None:
            self.loaded = load_tokenizer(self.tier, self.path, self.folder)
        return self.loaded


def tokenizer_location(model: TierModel) -> tuple[str, Path | None]:
    """Path or hub name, and folder, that a tier's tokenizer is loaded from."""
    path = model.flags.get("tokenizer_path")
    if path is None:
        return model.model_path, model.folder
    return str(path), local_folder(str(path))


def _tokenizer_at(model: TierModel, location: tuple[str, Path | None]) -> _Tokenizer:
    path, folder = location
    return _Tokenizer(
        tier=model.name,
        path=path,
        folder=folder,
        flags={flag: model.flags.get(flag) for flag in _TOKENIZER_FLAGS},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Speech:
    """All but the tokenizer by which voices differ.

    Attributes:
        template: None where SGLang writes prompts without one of the model's, or by a flag.
        model_type: of a model without a template, whose prompts SGLang's own code writes.
    """

    template: ChatTemplate | None
    flags: dict[str, Any]
    defaults: dict[str, Any]
    senses: list[str]
    model_type: str | None

    @property
    def has_chat(self) -> bool:
        """Whether a chat template is known, by its files or by a flag."""
        return self.template is not None or self.flags["chat_template"] is not None


def voices_of(models: Sequence[TierModel], tokenizer_path: str | None = None) -> Voices:
    """The voices of tiers whose models lie on this host.

    Args:
        models: of some tiers, in tier order, at least one.
        tokenizer_path: `--tokenizer-path` of the command line.

    Raises:
        ConfigError: if a tokenizer or a template cannot be read; if a template takes no plain
            conversation, or a tier alone has none; if `tokenizer_path` stands for tokenizers that
            differ. Names the tier.
    """
    _check_tokenizer_path(models, tokenizer_path)
    speeches = [_speech(model) for model in models]
    _check_templates(models, speeches)
    tokenizers: list[_Tokenizer] = []
    groups: list[_Group] = []
    for model, speech in zip(models, speeches, strict=True):
        number = _number(_tokenizer_at(model, tokenizer_location(model)), tokenizers)
        for group in groups:
            if group.tokenizer == number and group.speech == speech:
                group.models.append(model)
                break
        else:
            groups.append(_Group(tokenizer=number, speech=speech, models=[model]))
    return Voices(
        all=tuple(
            Voice(
                number=number,
                name=group.models[0].name,
                tiers=tuple(model.index for model in group.models),
                tokenizer=group.tokenizer,
                difference="; ".join(_words(groups[0], group, tokenizers)),
            )
            for number, group in enumerate(groups)
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Tiers of one voice."""

    tokenizer: int
    speech: _Speech
    models: list[TierModel]


def _number(tokenizer: _Tokenizer, tokenizers: list[_Tokenizer]) -> int:
    """The index of a tokenizer among these, to which a new one is added."""
    for number, other in enumerate(tokenizers):
        if other.difference(tokenizer) is None:
            return number
    tokenizers.append(tokenizer)
    return len(tokenizers) - 1


def _speech(model: TierModel) -> _Speech:
    assert model.folder is not None
    path = model.folder / "config.json"
    shape = read_json_object(path) if path.is_file() else {}
    template = None
    if model.flags.get("chat_template") is None:
        try:
            template = chat_template_of(model.folder, model.flags.get("hf_chat_template_name"))
        except ConfigError as error:
            raise ConfigError(f"tier {model.name}: {error}") from error
    is_named = model.flags.get("chat_template") is not None
    uses_files = model.flags.get("sampling_defaults") != "openai"
    return _Speech(
        template=template,
        flags={flag: model.flags.get(flag) for flag in _FLAGS},
        defaults=sampling_defaults(model.folder) if uses_files else {},
        senses=[key for key in _SENSES if shape.get(key) is not None],
        model_type=None if template is not None or is_named else shape.get("model_type"),
    )


def _check_templates(models: Sequence[TierModel], speeches: Sequence[_Speech]) -> None:
    """See that every tier can be asked a chat, where any can."""
    has_chat = [speech.has_chat for speech in speeches]
    if any(has_chat) and not all(has_chat):
        without = models[has_chat.index(False)].name
        raise ConfigError(f"tier {without} has no chat template; give it one, chat_template")
    templates: list[ChatTemplate | None] = []
    for model, speech in zip(models, speeches, strict=True):
        # Rendering takes seconds of imports. Where all templates are equal, SGLang reads the one.
        is_equal = all(speech.template == other.template for other in speeches)
        if is_equal or speech.template is None or speech.template in templates:
            continue
        templates.append(speech.template)
        refusal = plain_refusal(speech.template)
        if refusal is not None:
            raise ConfigError(
                f"tier {model.name}: its chat template takes no plain conversation ({refusal}); "
                "give it another, chat_template"
            )


def _check_tokenizer_path(models: Sequence[TierModel], path: str | None) -> None:
    """Refuse one tokenizer for models whose own differ: their ids would mean other tokens."""
    if path is None:
        return
    tokenizers = [
        _tokenizer_at(model, (model.model_path, model.folder))
        for model in models
        if "tokenizer_path" not in model.own_flags
    ]
    for other in tokenizers[1:]:
        difference_text = tokenizers[0].difference(other)
        if difference_text is not None:
            raise ConfigError(
                f"--tokenizer-path gives tiers {tokenizers[0].tier} and {other.tier} one "
                f"tokenizer, but theirs differ: {difference_text}; "
                "set tokenizer_path in a tier's server_args"
            )


def _words(first: _Group, other: _Group, tokenizers: Sequence[_Tokenizer]) -> Iterator[str]:
    """How a voice differs from the first one."""
    if first is other:
        return
    difference_text = tokenizers[first.tokenizer].difference(tokenizers[other.tokenizer])
    if difference_text is not None:
        yield f"another tokenizer ({difference_text})"
    speech, other_speech = first.speech, other.speech
    if speech.template != other_speech.template:
        yield f"another chat template{_template_words(speech.template, other_speech.template)}"
    for flag, value in speech.flags.items():
        if value != other_speech.flags[flag]:
            yield f"{flag} is {value!r} and {other_speech.flags[flag]!r}"
    if speech.defaults != other_speech.defaults:
        difference_text = differing_defaults(speech.defaults, other_speech.defaults)
        yield f"other defaults in generation_config.json ({difference_text})"
    if speech.senses != other_speech.senses:
        yield "other media"
    if speech.model_type != other_speech.model_type:
        yield f"another model type ({speech.model_type} and {other_speech.model_type})"


def _template_words(first: ChatTemplate | None, other: ChatTemplate | None) -> str:
    if first is None or other is None:
        return ""
    difference_text = plain_difference(first, other) or rare_difference(first, other)
    return "" if difference_text is None else f" ({difference_text})"
