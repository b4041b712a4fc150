"""Files and folders that SGLang flags name: missing ones end a start late, or not in one line."""

from collections.abc import Sequence
from pathlib import Path

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.folders import TierModel
from cascadia_sglang.models.hub_check import is_hub_name

# A file, or the name of a template that SGLang has built in.
_TEMPLATES = ("chat_template", "completion_template")
# A folder, or a name on the hub.
_MODELS = ("speculative_draft_model_path", "tokenizer_path")


def check_named_files(models: Sequence[TierModel]) -> None:
    """See that the files are there.

    Raises:
        ConfigError: names the tier, the flag and the path.
    """
    for model in models:
        for flag in (*_TEMPLATES, *_MODELS):
            path = model.flags.get(flag)
            if not isinstance(path, str) or Path(path).exists():
                continue
            is_name = is_hub_name(path) if flag in _MODELS else not _is_path(path)
            if not is_name:
                raise ConfigError(f"tier {model.name}: {flag} {path!r} does not exist")


def _is_path(text: str) -> bool:
    return "/" in text or Path(text).suffix in (".jinja", ".json")
