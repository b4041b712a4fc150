"""AFTER hook on XGrammarGrammar.fill_vocab_mask: notes a grammar that allows no token.

Upstream: fills a row of the mask with the tokens that may come next. Where there is none, all
logits become minus infinity, and drawing a token ends the scheduler. A client's grammar may lead
there, as `root ::= root` does at once.
We need: any token drawn in that case, and the request ended by `update_finish_state`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.sglang_state import DEAD_END

if TYPE_CHECKING:
    from sglang.srt.constrained.xgrammar_backend import XGrammarGrammar
    from torch import Tensor


def _build(_: None) -> Callable[..., None]:
    def note_dead_end(
        _result: None, grammar: XGrammarGrammar, vocab_mask: Tensor, idx: int
    ) -> None:
        row = vocab_mask[idx]
        if not row.any():
            row.fill_(-1)
            DEAD_END.set(grammar, True)

    return note_dead_end


PATCH = PatchSpec(
    target="sglang.srt.constrained.xgrammar_backend.XGrammarGrammar.fill_vocab_mask",
    hook_type="after",
    kind="function",
    parameters=("vocab_mask", "idx"),
    build=_build,
    reason="a grammar that allows no token ends the scheduler",
    drop_when="SGLang ends the request of a grammar that allows no token",
)
