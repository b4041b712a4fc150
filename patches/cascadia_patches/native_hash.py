"""AROUND hook on get_native_hash: hashes the pages of the prefix cache without a compiler.

Upstream: a C++ extension that is compiled when the first page is hashed, with OpenSSL's headers:
half a minute in the middle of the first request, or an error where there is no compiler.
We need: the same digests, from the first request on, on any machine.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.registry import PatchSpec


def _build(_: None) -> Callable[..., Any]:
    from cascadia_sglang.prefix.block_hashes import block_digests

    def hash_pages(
        original: Callable[..., Any],
        token_ids: Any,
        prior_digest: bytes | None,
        page_size: int | None = None,
    ) -> Any:
        if getattr(token_ids, "is_bigram", False) or page_size is None:
            return original(token_ids, prior_digest, page_size)
        raw_ids = getattr(token_ids, "raw_token_ids", None)
        ids = token_ids if raw_ids is None else raw_ids()
        try:
            return [d.hex() for d in block_digests(ids[: len(token_ids)], page_size, prior_digest)]
        except OverflowError:
            # Ids beyond 32 bits are hashed otherwise.
            return original(token_ids, prior_digest, page_size)

    return hash_pages


PATCH = PatchSpec(
    target="sglang.srt.mem_cache.utils.get_native_hash",
    hook_type="around",
    kind="function",
    parameters=("token_ids", "prior_digest", "page_size"),
    build=_build,
    reason="workers that publish KV events would compile C++ during their first request",
    drop_when="SGLang hashes pages without compiling anything at run time",
)
