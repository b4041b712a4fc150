"""AROUND hook on TokenizerManager.convert_logprob_style: token texts of the attempt's tier.

Upstream: writes log-probabilities into `meta_info`, with the texts of tokens by the one tokenizer.
We need: the texts by the tokenizer of the tier that ran the attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import ReqState, TokenizerManager

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def convert(
        original: Callable[..., None],
        manager: TokenizerManager,
        meta_info: dict[str, Any],
        state: ReqState,
        *arguments: Any,
        **options: Any,
    ) -> None:
        worker = server.pool.worker_of(state.obj.rid)
        if worker is not None:
            manager = server.fleet.views.manager(worker.tiers[0])
        original(manager, meta_info, state, *arguments, **options)

    return convert


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.convert_logprob_style",
    hook_type="around",
    kind="function",
    parameters=("meta_info", "state"),
    build=_build,
    reason="token texts are those of the tier that wrote the tokens",
    drop_when="SGLang serves several models from one server",
)
