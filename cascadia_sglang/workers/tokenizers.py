"""All tiers of a server share one tokenizer: proof that their models allow it."""

from pathlib import Path
from typing import Any

from sglang.srt.utils.hf_transformers.tokenizer import get_tokenizer

from cascadia_sglang.config import TierConfig
from cascadia_sglang.entry.model import vocabulary_fingerprint
from cascadia_sglang.errors import ConfigError


def check_same_tokenizer(tiers: list[tuple[str, str]]) -> None:
    """Compare every tier's tokenizer with the first tier's.

    Args:
        tiers: name and model path of each.

    Raises:
        ConfigError: names the two tiers and the first difference.
    """
    first_name, first_path = tiers[0]
    for name, path in tiers[1:]:
        if path == first_path or _same_file(first_path, path):
            continue
        difference = _difference(_load(first_name, first_path), _load(name, path))
        if difference is not None:
            raise ConfigError(
                f"tiers {first_name} and {name} have different tokenizers: {difference}"
            )


def check_vocabulary(tier: TierConfig, fingerprint: str) -> None:
    """Compare a tier's vocabulary with the one that an entry model was fitted on.

    Raises:
        ConfigError: if they differ, as then the entry model's ids mean other tokens.
    """
    found = vocabulary_fingerprint(vocabulary_of(tier))
    if found != fingerprint:
        raise ConfigError(
            f"entry model: fitted on the vocabulary {fingerprint}, but tier {tier.name} has "
            f"{found}; fit it again"
        )


def vocabulary_of(tier: TierConfig) -> dict[str, int]:
    """Every token of a tier's tokenizer and its id.

    Raises:
        ConfigError: if the model has no tokenizer.
    """
    vocabulary: dict[str, int] = _load(tier.name, tier.model_path).get_vocab()
    return vocabulary


def _same_file(first_path: str, path: str) -> bool:
    """Whether both models carry the very same fast tokenizer; spares loading them."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        pair = [Path(folder) / name for folder in (first_path, path)]
        if not all(file.is_file() for file in pair):
            return False
        if pair[0].read_bytes() != pair[1].read_bytes():
            return False
    return True


def _load(name: str, path: str) -> Any:
    try:
        return get_tokenizer(path)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise ConfigError(f"tier {name}: no tokenizer in {path}: {first_line}") from error


def _difference(first: Any, other: Any) -> str | None:
    first_vocabulary, other_vocabulary = first.get_vocab(), other.get_vocab()
    for token, index in sorted(first_vocabulary.items(), key=lambda item: item[1]):
        if other_vocabulary.get(token) != index:
            return f"token {token!r} is {index} and {other_vocabulary.get(token, 'absent')}"
    extra = other_vocabulary.keys() - first_vocabulary.keys()
    if extra:
        return f"token {min(extra)!r} is absent and {other_vocabulary[min(extra)]}"
    for key, value in first.special_tokens_map.items():
        if other.special_tokens_map.get(key) != value:
            return f"{key} is {value!r} and {other.special_tokens_map.get(key)!r}"
    return None
