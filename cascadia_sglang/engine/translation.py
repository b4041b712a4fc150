"""Texts and answers in the token ids of a tier, to be read as drafts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from cascadia_sglang.router.engine_protocol import Translation

if TYPE_CHECKING:
    from cascadia_sglang.engine.voice_views import VoiceViews
    from cascadia_sglang.request_guard.guard import RequestGuard

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

# What a decoder writes for a part of a character: the answer was cut within one.
_REPLACEMENT = "\ufffd"
# A shorter answer is translated in less time than a thread takes to begin, or little more.
_LONG_ANSWER_TOKENS = 1_024
# Characters of a text that is tokenised in a thread.
_LONG_TEXT_CHARACTERS = 4_096


class DraftTranslator:
    """Writes texts and answers in the tokens of a tier.

    A draft is no more than a help. So what a tokenizer fails on becomes an empty one, and a draft
    ends before the first token that the tier's model may lack: a worker looks each up in a table.
    """

    def __init__(self, views: VoiceViews, guard: RequestGuard) -> None:
        self._views = views
        self._guard = guard

    async def text(self, text: str, tier_index: int) -> Sequence[int]:
        """A text within an answer."""
        reader: Any = self._views.manager(tier_index).tokenizer

        def encode() -> list[int]:
            token_ids: list[int] = reader.encode(text, add_special_tokens=False)
            return token_ids

        is_long = len(text) >= _LONG_TEXT_CHARACTERS
        token_ids = await self._done(encode, is_long, tier_index)
        return self._guard.known_ids(token_ids or (), tier_index)

    async def answer(self, token_ids: Sequence[int], from_tier: int, to_tier: int) -> Translation:
        """A tier's answer in the tokens of another one."""
        read: Translation | None = Translation(token_ids=tuple(token_ids))
        if not self._views.voices.share_tokenizer(from_tier, to_tier):
            writer, reader = (self._views.manager(t).tokenizer for t in (from_tier, to_tier))
            is_long = len(token_ids) >= _LONG_ANSWER_TOKENS
            read = await self._done(lambda: translated(token_ids, writer, reader), is_long, to_tier)
        if read is None:
            return Translation(token_ids=(), is_exact=False)
        known_ids = self._guard.known_ids(read.token_ids, to_tier)
        is_whole = len(known_ids) == len(read.token_ids)
        return Translation(token_ids=tuple(known_ids), is_exact=read.is_exact and is_whole)

    async def _done(
        self, work: Callable[[], Result], is_long: bool, tier_index: int
    ) -> Result | None:
        """What the work gives, in a thread where it takes long; None where it fails."""
        try:
            return await asyncio.to_thread(work) if is_long else work()
        except Exception as error:  # noqa: BLE001  a model's own tokenizer may raise anything
            logger.warning("tier %d reads no draft: a tokenizer failed: %r", tier_index, error)
            return None


def translated(token_ids: Sequence[int], writer: Any, reader: Any) -> Translation:
    """Translate an answer by its text.

    The text ends before the first special token, which means nothing to another model. An answer
    that ends there is ended by the reader's own end token.

    Args:
        token_ids: of the answer, with the token that ended it, if any.
        writer: Transformers' tokenizer of the tier that wrote it.
        reader: that of the tier that reads it.
    """
    special = set(writer.all_special_ids)
    end = next(
        (index for index, token_id in enumerate(token_ids) if token_id in special), len(token_ids)
    )
    text: str = _decoded(writer, token_ids[:end]).rstrip(_REPLACEMENT)
    read: list[int] = reader.encode(text, add_special_tokens=False)
    # A text may spell a special token of the reader, which is not what was written.
    is_plain = set(read).isdisjoint(reader.all_special_ids)
    is_exact = is_plain and _decoded(reader, read) == text
    is_ended = end == len(token_ids) - 1
    if is_ended and reader.eos_token_id is not None:
        read = [*read, reader.eos_token_id]
    return Translation(token_ids=tuple(read), is_exact=is_exact)


def _decoded(tokenizer: Any, token_ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(
        list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text
