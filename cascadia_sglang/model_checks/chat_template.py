"""The chat template of a model's folder, and its rendering of a conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import read_json_object
from cascadia_sglang.model_checks.tokenizer import special_tokens_of

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A Jinja template, and the special tokens that it may write."""

    text: str
    special_tokens: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """What a template makes of a conversation: a prompt, or the reason why it takes none."""

    prompt: str
    error: str | None = None


def chat_template_of(folder: Path, name: str | None = None) -> ChatTemplate | None:
    """The template by which SGLang asks a model; None where the model has none.

    Args:
        name: `--hf-chat-template-name`, which picks one of several; None for the first.

    Raises:
        ConfigError: if a file cannot be read, or no template has the name.
    """
    named = _templates(folder)
    if not named:
        return None
    if name is not None and len(named) > 1 and name not in named:
        raise ConfigError(f"{folder} has no chat template {name!r}, it has: {', '.join(named)}")
    text = named[name] if name in named else next(iter(named.values()))
    return ChatTemplate(text=text, special_tokens=special_tokens_of(folder))


def rendered(
    template: ChatTemplate,
    messages: Sequence[Message],
    tools: list[dict[str, Any]] | None = None,
    **variables: Any,
) -> RenderedPrompt:
    """What a template makes of a conversation to be answered, by the server's own renderer."""
    # The import takes a second, and templates are most often equal.
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        (prompt,), _ = render_jinja_template(
            conversations=[list(messages)],
            tools=tools,
            chat_template=template.text,
            add_generation_prompt=True,
            **template.special_tokens,
            **variables,
        )
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        # A template is a program: it may fail by any of these, and then takes no such conversation.
        return RenderedPrompt(prompt="", error=" ".join(str(error).split()) or type(error).__name__)
    return RenderedPrompt(prompt=prompt)


def _templates(folder: Path) -> dict[str, str]:
    """Templates by name, in the order in which Transformers finds them; a processor's first."""
    processor = folder / "chat_template.json"
    if processor.is_file():
        return _named(read_json_object(processor).get("chat_template"))
    templates: dict[str, str] = {}
    files = [("default", folder / "chat_template.jinja")]
    additional = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    files += [(path.stem, path) for path in additional]
    for name, path in files:
        if path.is_file():
            try:
                templates[name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path}: {error}") from error
    if templates:
        return templates
    path = folder / "tokenizer_config.json"
    return _named(read_json_object(path).get("chat_template")) if path.is_file() else {}


def _named(templates: Any) -> dict[str, str]:
    """Of what a JSON file says: a text, or a list of names and texts."""
    if isinstance(templates, str):
        return {"default": templates}
    if isinstance(templates, list):
        return {str(template.get("name")): str(template.get("template")) for template in templates}
    return {}
