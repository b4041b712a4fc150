"""A tokenizer read from its file is the one that SGLang serves with."""

from pathlib import Path

import pytest

from cascadia_sglang.entry.model import vocabulary_fingerprint
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.tokenizer import SPECIAL_TOKENS, load_tokenizer, served_tokenizer
from demo import MODELS
from demo.tasks.tokenizer import build_tokenizer

TEXTS = ("rev hgfa", "add 12 34", "Unknown Ünïcödé  here")


def test_the_file_gives_what_sglang_loads() -> None:
    folder = MODELS / "small"
    tokenizer = load_tokenizer("small", str(folder), folder)
    served = served_tokenizer("small", str(folder))
    assert tokenizer.vocabulary == served.get_vocab()
    assert [tokenizer.encode(text) for text in TEXTS] == [served.encode(text) for text in TEXTS]
    special_tokens = {k: v for k, v in served.special_tokens_map.items() if k in SPECIAL_TOKENS}
    assert tokenizer.special_tokens == special_tokens


def test_the_vocabulary_of_the_fit_is_known_again() -> None:
    folder = MODELS / "small"
    tokenizer = load_tokenizer("small", str(folder), folder)
    fitted = vocabulary_fingerprint(build_tokenizer().get_vocab())
    assert vocabulary_fingerprint(tokenizer.vocabulary) == fitted


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(ConfigError, match=f"tier small: no tokenizer in {tmp_path}: ") as raised:
        served_tokenizer("small", str(tmp_path))
    assert "\n" not in str(raised.value)
