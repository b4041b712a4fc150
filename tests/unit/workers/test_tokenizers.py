"""The entry model's vocabulary is that of the tiers, or the server does not start."""

import pytest

from bench.ladder.export import LADDER
from bench.ladder.tokenizer import build_tokenizer
from cascadia_sglang.config import TierConfig
from cascadia_sglang.entry.model import vocabulary_fingerprint
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.workers.tokenizers import check_vocabulary

SMALL = TierConfig(name="small", model_path=str(LADDER / "small"))


def test_the_vocabulary_of_the_fit_is_known_again() -> None:
    check_vocabulary(SMALL, vocabulary_fingerprint(build_tokenizer().get_vocab()))


def test_another_vocabulary_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="fitted on the vocabulary 0123, but tier small has"):
        check_vocabulary(SMALL, "0123")
