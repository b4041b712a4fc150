"""An answer in the token ids of another tokenizer."""

from collections.abc import Sequence
from typing import Any

from cascadia_sglang.router.engine_protocol import Translation

# What a decoder writes for a part of a character: the answer was cut within one.
_REPLACEMENT = "\ufffd"


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
    end = next((place for place, one in enumerate(token_ids) if one in special), len(token_ids))
    text: str = _decoded(writer, token_ids[:end]).rstrip(_REPLACEMENT)
    found: list[int] = reader.encode(text, add_special_tokens=False)
    is_exact = _decoded(reader, found) == text
    is_ended = end == len(token_ids) - 1
    if is_ended and reader.eos_token_id is not None:
        found = [*found, reader.eos_token_id]
    return Translation(token_ids=tuple(found), is_exact=is_exact)


def _decoded(tokenizer: Any, token_ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(
        list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text
