"""A request's outputs, begun before SGLang's handler asks for them.

Which tier answers is known with the first output, and with it whose handler reads the answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.engine.prompt_forms import Form
from cascadia_sglang.http.trace import SCOPE_KEY, Trace
from cascadia_sglang.sglang_state import FORMS, SUMMARY

if TYPE_CHECKING:
    import fastapi
    from sglang.srt.managers.io_struct import GenerateReqInput
    from sglang.srt.managers.tokenizer_manager import TokenizerManager


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunOutputs:
    """The outputs of a request.

    Attributes:
        outputs: all of them; or the error that came in the place of the first.
        tier_index: of the tier that answers; None where none does.
        form: the prompt as that tier was asked it; None where none was made for it.
    """

    outputs: AsyncIterator[Any]
    tier_index: int | None = None
    form: Form | None = None


async def begin_outputs(
    manager: TokenizerManager, adapted: GenerateReqInput, http_request: fastapi.Request | None
) -> BegunOutputs:
    """Ask the engine, and wait for the first output."""
    outputs = manager.generate_request(adapted, http_request)
    try:
        first = await anext(outputs)
    except Exception as error:  # noqa: BLE001  the handler makes a response of it
        return BegunOutputs(outputs=_failing(error))
    begun = _rest(first, outputs)
    summary, forms = SUMMARY.get(adapted), FORMS.get(adapted)
    if summary is None or forms is None or summary.tier_index < 0:
        return BegunOutputs(outputs=begun)
    tier_index = summary.tier_index
    return BegunOutputs(outputs=begun, tier_index=tier_index, form=forms.ready_form(tier_index))


def asked_voice(voices: Voices, http_request: fastapi.Request | None) -> Voice:
    """The voice of the tier that a request pins; the first one where it pins none."""
    trace: Trace | None = None if http_request is None else http_request.scope.get(SCOPE_KEY)
    return voices.of_tier((None if trace is None else trace.controls.tier) or 0)


def is_pinned(http_request: fastapi.Request | None) -> bool:
    """Whether a request pins a tier."""
    trace: Trace | None = None if http_request is None else http_request.scope.get(SCOPE_KEY)
    return trace is not None and trace.controls.tier is not None


async def _rest(first: Any, outputs: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """All outputs, of which the first was taken."""
    async with contextlib.aclosing(outputs):  # type: ignore[type-var]
        yield first
        async for output in outputs:
            yield output


async def _failing(error: Exception) -> AsyncIterator[Any]:
    """Outputs that fail before the first."""
    raise error
    yield  # this makes it a generator
