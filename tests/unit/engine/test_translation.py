"""Answers in the token ids of another tokenizer."""

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.engine.translation import DraftTranslator, translated
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.request_guard.guard import RequestGuard


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
    token_ids: list[int] = PLAIN.encode(text, add_special_tokens=False)
    return token_ids


def test_an_answer_is_translated_by_its_text() -> None:
    translation = translated(ids("cab ab"), PLAIN, OTHER)
    assert OTHER.decode(translation.token_ids) == "cab ab"
    assert len(translation.token_ids) == 4  # c, ab, a space, ab
    assert translation.is_exact


def test_an_ended_answer_ends_with_the_readers_own_token() -> None:
    translation = translated([*ids("ab"), PLAIN.eos_token_id], PLAIN, OTHER)
    assert translation.token_ids[-1] == OTHER.eos_token_id
    assert PLAIN.eos_token_id != OTHER.eos_token_id
    assert OTHER.decode(translation.token_ids[:-1]) == "ab"


def test_what_comes_after_a_special_token_is_left_out() -> None:
    translation = translated([*ids("a"), PLAIN.eos_token_id, *ids("b")], PLAIN, OTHER)
    assert OTHER.decode(translation.token_ids) == "a"


def test_text_that_the_reader_cannot_write_is_not_exact() -> None:
    narrow = letters(0)
    narrow.backend_tokenizer.model = BPE({"<eos>": 0, "a": 1}, [])
    translation = translated(ids("ab"), PLAIN, narrow)
    assert not translation.is_exact


@pytest.mark.parametrize("token_ids", [[], [PLAIN.eos_token_id]])
def test_an_empty_answer_is_empty(token_ids: list[int]) -> None:
    translation = translated(token_ids, PLAIN, OTHER)
    assert list(translation.token_ids) == ([OTHER.eos_token_id] if token_ids else [])
    assert translation.is_exact


def test_a_text_that_spells_a_special_token_of_the_reader_is_not_exact() -> None:
    """The second judge must let no end token out that the first tier did not write."""
    model = Tokenizer(BPE({"<": 1, "e": 2, "o": 3, "s": 4, ">": 5}, []))
    model.decoder = decoders.Fuse()
    writer = PreTrainedTokenizerFast(tokenizer_object=model)
    read = translated([1, 2, 3, 4, 5], writer, OTHER)
    assert OTHER.decode(read.token_ids) == "<eos>"
    assert not read.is_exact


# What a worker may be given


class Broken:
    """A model's own tokenizer that fails."""

    all_special_ids: tuple[int, ...] = ()

    def encode(self, *_: Any, **__: Any) -> list[int]:
        raise OverflowError("out of range")

    decode = encode


def translator(*tokenizers: Any, vocabulary: int) -> DraftTranslator:
    """Of a tier each; their models know the ids below `vocabulary`."""
    pool = WritablePool()
    voices = Voices(
        all=tuple(
            Voice(number=number, name=str(number), tiers=(number,), tokenizer=number)
            for number in range(len(tokenizers))
        )
    )
    for number in range(len(tokenizers)):
        worker = Worker(worker_id=f"{number}-0", tiers=(number,), handle=None)
        pool.add(worker)
        pool.admit(worker, Limits(context_tokens=99, input_tokens=99, vocabulary=vocabulary))
    managers = [
        SimpleNamespace(
            tokenizer=tokenizer,
            enable_metrics=False,
            server_args=SimpleNamespace(enable_custom_logit_processor=False),
        )
        for tokenizer in tokenizers
    ]
    guard = RequestGuard(pool, voices, 2, 2)
    guard.connect(managers[0], tokenizers)  # type: ignore[arg-type]
    views: Any = SimpleNamespace(voices=voices, manager=managers.__getitem__)
    return DraftTranslator(views, guard)


async def test_a_draft_ends_before_a_token_that_the_models_lack() -> None:
    """A worker that looked it up would end, and all its other requests with it."""
    plain = translator(PLAIN, OTHER, vocabulary=OTHER.convert_tokens_to_ids("c"))
    assert await plain.text("abc", 1) == OTHER.encode("ab")
    read = await plain.answer(ids("abc"), 0, 1)
    assert list(read.token_ids) == OTHER.encode("ab")
    assert not read.is_exact
    assert (await plain.answer([1, 2, 99, 3], 1, 1)).token_ids == (1, 2)


@pytest.mark.parametrize("length", [3, 5_000], ids=["at-once", "in-a-thread"])
async def test_what_a_tokenizer_fails_on_is_no_draft(length: int) -> None:
    broken = translator(PLAIN, Broken(), vocabulary=100)
    assert not await broken.text("a" * length, 1)
    read = await broken.answer(ids("a") * length, 0, 1)
    assert read.token_ids == ()
    assert not read.is_exact


async def test_a_text_that_is_no_unicode_is_no_draft() -> None:
    assert not await translator(PLAIN, vocabulary=100).text("a\ud800", 0)
