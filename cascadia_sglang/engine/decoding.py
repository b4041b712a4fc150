"""What turns token ids into text as a request asks for it."""

from collections.abc import Mapping
from typing import Any

from sglang.srt.utils.patch_tokenizer import decode_without_hf_kwargs

from cascadia_sglang.router.output_splitting import Decode


def decoder(tokenizer: Any, params: Mapping[str, Any]) -> Decode:
    """The decoder of a tokenizer for a request with these sampling parameters."""
    skip = params.get("skip_special_tokens", True)
    if not getattr(tokenizer, "is_fast", False):
        # SGLang reads such a tokenizer's tokens in this way too.
        return lambda ids: str(decode_without_hf_kwargs(tokenizer, ids, skip))
    spaces = params.get("spaces_between_special_tokens", True)
    return lambda ids: str(
        tokenizer.decode(ids, skip_special_tokens=skip, spaces_between_special_tokens=spaces)
    )
