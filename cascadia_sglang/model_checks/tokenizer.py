"""Whether two models have the same tokenizer, by their files where these tell.

`tokenizer.json` is read by the library that SGLang uses too, without Transformers, which takes
seconds to import. A model without that file is loaded as the server loads it.
"""

import filecmp
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import read_json_object

FILE = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
# Texts in which tokenizers of one vocabulary come apart: spaces, digits, letters of many kinds.
_TEXTS = (
    "Hello, world!  Two spaces,\n\nan empty line,\tand a tab.",
    "In 2024 we paid 1,234,567.89 EUR (≈ $1.3M) for 12345678 items.",
    "def f(x):\n    return [i**2 for i in range(x) if i % 2 == 0]  # squares\n",
    "Zażółć gęślą jaźń. Ünïcödé: e\u0301 and é. 日本語のテキスト。 Привет! مرحبا 👍🏽",
    " leading and trailing spaces ",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTokenizer:
    """What is compared of a tokenizer."""

    vocabulary: Mapping[str, int]
    special_tokens: Mapping[str, str]
    encode: Callable[[str], list[int]]


def special_tokens_of(folder: Path) -> dict[str, str]:
    """The special tokens that a model's files name, by their role."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", _CONFIG):
        path = folder / name
        data = read_json_object(path) if path.is_file() else {}
        for role in SPECIAL_TOKENS:
            value = data.get(role)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens[role] = text
    return tokens


def load_tokenizer(name: str, model_path: str, folder: Path | None) -> LoadedTokenizer:
    """Load a tier's tokenizer.

    Raises:
        ConfigError: if there is none, or it cannot be read; names the tier.
    """
    if folder is None or not (folder / FILE).is_file():
        return _as_served(name, model_path)
    try:
        tokenizer = Tokenizer.from_file(str(folder / FILE))
    except Exception as error:
        raise ConfigError(f"tier {name}: {folder / FILE}: {error}") from error
    return LoadedTokenizer(
        vocabulary=tokenizer.get_vocab(with_added_tokens=True),
        special_tokens=special_tokens_of(folder),
        encode=lambda text: list(tokenizer.encode(text).ids),
    )


def have_equal_files(first: Path | None, second: Path | None) -> bool:
    """Whether both models carry the very same tokenizer; spares loading them."""
    if first is None or second is None:
        return False
    pair = (first / FILE, second / FILE)
    return (
        all(path.is_file() for path in pair)
        and filecmp.cmp(*pair, shallow=False)
        and special_tokens_of(first) == special_tokens_of(second)
    )


def difference(first: LoadedTokenizer, second: LoadedTokenizer) -> str | None:
    """The first difference of two tokenizers, in words; None where there is none."""
    for token, index in sorted(first.vocabulary.items(), key=lambda item: item[1]):
        if second.vocabulary.get(token) != index:
            return f"token {token!r} is {index} and {second.vocabulary.get(token, 'absent')}"
    extra = second.vocabulary.keys() - first.vocabulary.keys()
    if extra:
        return f"token {min(extra)!r} is absent and {second.vocabulary[min(extra)]}"
    for role in sorted(first.special_tokens.keys() | second.special_tokens.keys()):
        pair = first.special_tokens.get(role), second.special_tokens.get(role)
        if pair[0] != pair[1]:
            return f"{role} is {pair[0]!r} and {pair[1]!r}"
    for text in _TEXTS:
        ids = first.encode(text), second.encode(text)
        if ids[0] != ids[1]:
            return f"{text!r} is {len(ids[0])} tokens and {len(ids[1])}, or others"
    return None


def _as_served(name: str, model_path: str) -> LoadedTokenizer:
    tokenizer: Any = served_tokenizer(name, model_path)
    return LoadedTokenizer(
        vocabulary=tokenizer.get_vocab(),
        special_tokens={
            role: str(value)
            for role, value in tokenizer.special_tokens_map.items()
            if role in SPECIAL_TOKENS
        },
        encode=lambda text: list(tokenizer.encode(text)),
    )


def served_tokenizer(name: str, model_path: str) -> Any:
    """The tokenizer of a tier as SGLang loads it.

    Raises:
        ConfigError: if the model has none; names the tier.
    """
    # The import takes seconds; most folders are read without it.
    from sglang.srt.utils.hf_transformers.tokenizer import get_tokenizer

    try:
        return get_tokenizer(model_path)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise ConfigError(f"tier {name}: no tokenizer in {model_path}: {first_line}") from error
