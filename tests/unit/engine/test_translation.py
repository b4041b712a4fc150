"""Answers in the token ids of another tokenizer."""

import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from cascadia_sglang.engine.translation import translated


def letters(offset: int, *more: str) -> PreTrainedTokenizerFast:
    """A tokenizer of the small letters, whose ids begin at an offset, and of some more tokens."""
    pieces = ["<eos>", *more, *map(chr, range(ord("a"), ord("z") + 1)), " "]
    vocabulary = {f"<pad{n}>": n for n in range(offset)}
    vocabulary |= {piece: offset + number for number, piece in enumerate(pieces)}
    merges = [(piece[:-1], piece[-1]) for piece in more]
    model = Tokenizer(BPE(vocabulary, merges))
    model.decoder = decoders.Fuse()
    model.add_special_tokens(["<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<eos>")


PLAIN = letters(0)
OTHER = letters(5, "ab")


def ids(text: str) -> list[int]:
    found: list[int] = PLAIN.encode(text, add_special_tokens=False)
    return found


def test_an_answer_is_translated_by_its_text() -> None:
    found = translated(ids("cab ab"), PLAIN, OTHER)
    assert OTHER.decode(found.token_ids) == "cab ab"
    assert len(found.token_ids) == 4  # c, ab, a space, ab
    assert found.is_exact


def test_an_ended_answer_ends_with_the_readers_own_token() -> None:
    found = translated([*ids("ab"), PLAIN.eos_token_id], PLAIN, OTHER)
    assert found.token_ids[-1] == OTHER.eos_token_id
    assert PLAIN.eos_token_id != OTHER.eos_token_id
    assert OTHER.decode(found.token_ids[:-1]) == "ab"


def test_what_comes_after_a_special_token_is_left_out() -> None:
    found = translated([*ids("a"), PLAIN.eos_token_id, *ids("b")], PLAIN, OTHER)
    assert OTHER.decode(found.token_ids) == "a"


def test_text_that_the_reader_cannot_write_is_not_exact() -> None:
    narrow = letters(0)
    narrow.backend_tokenizer.model = BPE({"<eos>": 0, "a": 1}, [])
    found = translated(ids("ab"), PLAIN, narrow)
    assert not found.is_exact


@pytest.mark.parametrize("token_ids", [[], [PLAIN.eos_token_id]])
def test_an_empty_answer_is_empty(token_ids: list[int]) -> None:
    found = translated(token_ids, PLAIN, OTHER)
    assert list(found.token_ids) == ([OTHER.eos_token_id] if token_ids else [])
    assert found.is_exact
