"""AROUND hook on Req.update_finish_state: ends a request whose grammar allows no token.

Upstream: a request ends at a stop token, a stop string, a length or the end of its grammar.
We need: one whose grammar led nowhere, as `fill_vocab_mask` noted, to end with a 400.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.sglang_state import DEAD_END

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req


def _build(_: None) -> Callable[..., None]:
    def update(original: Callable[..., None], req: Req, new_accepted_len: int = 1) -> None:
        # Where the model reasons, SGLang wraps the client's grammar.
        grammar = getattr(req.grammar, "grammar", None) or req.grammar
        if DEAD_END.get(grammar) and not req.finished():
            from sglang.srt.managers.schedule_batch import FINISH_ABORT

            message = "the grammar of the request allows no token here"
            req.to_finish = FINISH_ABORT(message, 400, "BadRequestError")
        original(req, new_accepted_len)

    return update


PATCH = PatchSpec(
    target="sglang.srt.managers.schedule_batch.Req.update_finish_state",
    hook_type="around",
    kind="function",
    parameters=("new_accepted_len",),
    build=_build,
    reason="a grammar that allows no token ends the scheduler",
    drop_when="SGLang ends the request of a grammar that allows no token",
)
