"""Tokenizers as SGLang loads them."""

from typing import Any

from sglang.srt.utils.hf_transformers.tokenizer import get_tokenizer

from cascadia_sglang.errors import ConfigError


def served_tokenizer(name: str, model_path: str) -> Any:
    """The tokenizer of a tier.

    Raises:
        ConfigError: if the model has none; names the tier.
    """
    try:
        return get_tokenizer(model_path)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise ConfigError(f"tier {name}: no tokenizer in {model_path}: {first_line}") from error
