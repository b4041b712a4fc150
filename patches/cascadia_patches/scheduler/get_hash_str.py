"""AROUND hook on get_hash_str: hashes the pages of the prefix cache without a compiler.

Upstream: a C++ extension that is compiled when the first page is hashed, with OpenSSL's headers:
half a minute in the middle of the first request, or an error where there is no compiler.
We need: the same digests, from the first request on, on any machine.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(_: None) -> Callable[..., Any]:
    from cascadia_sglang.prefix.block_hashes import block_digests

    def hash_pages(
        original: Callable[..., Any],
        token_ids: Any,
        prior_hash: str | None = None,
        page_size: int | None = None,
    ) -> Any:
        if getattr(token_ids, "is_bigram", False) or page_size is None:
            return original(token_ids, prior_hash, page_size)
        raw_ids = getattr(token_ids, "raw_token_ids", None)
        ids = token_ids if raw_ids is None else raw_ids()
        prior = bytes.fromhex(prior_hash) if prior_hash else None
        try:
            digests = block_digests(ids[: len(token_ids)], page_size, prior)
            return [digest.hex() for digest in digests]
        except (OverflowError, TypeError):
            # Ids of more than 32 bits, or that are no numbers, are hashed otherwise.
            return original(token_ids, prior_hash, page_size)

    return hash_pages


PATCH = PatchSpec(
    target="sglang.srt.mem_cache.utils.get_hash_str",
    hook_type="around",
    kind="function",
    parameters=("token_ids", "prior_hash", "page_size"),
    build=_build,
    reason="workers that publish KV events would compile C++ during their first request",
    drop_when="SGLang hashes pages without compiling anything at run time",
)
