"""Makes prompts in the voices of tiers, when a tier is first asked or warmed.

A chat is rendered again by the voice's own chat handler; a text is encoded by its tokenizer. Long
ones are made in a thread, so that the event loop serves other requests meanwhile.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.voices import Voices
from cascadia_sglang.engine.id_fields import bears_ids
from cascadia_sglang.engine.prompt_forms import (
    Form,
    PromptForms,
    PromptSource,
    Reach,
    is_unencoded,
)
from cascadia_sglang.engine.requests import split_request
from cascadia_sglang.engine.voice_views import VoiceViews
from cascadia_sglang.errors import UnreadablePromptError
from cascadia_sglang.request_guard.guard import RequestGuard
from cascadia_sglang.router.engine_protocol import Refusal
from cascadia_sglang.sglang_state import ASKED_TIER, CHAT_SOURCE, FORMS, PROMPT, VOICE_BOUND

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

# A shorter text is encoded in less time than a thread takes to begin, or little more.
LONG_TEXT_CHARACTERS = 4_096


class VoicedPrompts:
    """Splits requests into prompts, and makes each prompt's forms.

    A cascade of one voice has one form for each prompt: the request itself.
    """

    def __init__(self, voices: Voices, guard: RequestGuard) -> None:
        self._voices = voices
        self._guard = guard
        self._views: VoiceViews  # set by `connect`, before any request

    def connect(self, views: VoiceViews) -> None:
        """Take the tokenizers and the chat handlers."""
        self._views = views

    def split(
        self, request: GenerateReqInput, pinned_tier: int | None
    ) -> list[list[GenerateReqInput]]:
        """Normalise a request, in place; the samples of every prompt, each a request of its own.

        Args:
            pinned_tier: that the client chose, in whose voice the request came; None for the first.

        Raises:
            RequestError: 400 for fields that do not fit each other.
        """
        if self._voices.is_one:
            return split_request(request, self._views.manager(0))
        chat, blind = CHAT_SOURCE.get(request), self._blind(request)
        tier = self._asked_tier(request, pinned_tier, blind)
        prompts = split_request(request, self._views.manager(tier))
        reach = Reach.ALL
        if VOICE_BOUND.get(request) or (blind and chat is None):
            # A text has the marks of one model in the place of its media.
            reach = Reach.SAME_VOICE
        elif bears_ids(request, chat):
            reach = Reach.SAME_TOKENIZER
        for samples in prompts:
            client_form = Form(samples=samples, adapted=request)
            forms = PromptForms(client_form, tier, reach, chat, self._voices, blind)
            # A chat's handler looks at its request, which may have several samples.
            FORMS.set(request, forms)
            for sample in samples:
                FORMS.set(sample, forms)
        return prompts

    def _blind(self, request: GenerateReqInput) -> frozenset[int]:
        """Numbers of the voices that do not see a request's media, where others do."""
        if not request.contains_mm_input():
            return frozenset()
        blind = [v.number for v in self._voices.all if not self._views.sees_media(v)]
        return frozenset(blind if len(blind) < len(self._voices.all) else ())

    def _asked_tier(
        self, request: GenerateReqInput, pinned_tier: int | None, blind: frozenset[int]
    ) -> int:
        """The tier in whose voice a request came: the first one that sees its media."""
        tier = ASKED_TIER.get(request) if pinned_tier is None else pinned_tier
        if tier is not None:
            return tier
        return next(v.tiers[0] for v in self._voices.all if v.number not in blind)

    def refusal(self, sample: GenerateReqInput, tier_index: int) -> Refusal | None:
        """Why a tier cannot be asked this sample; None where it can."""
        return None if self._voices.is_one else FORMS.expect(sample).refusal(tier_index)

    def are_alike(self, sample: GenerateReqInput, tier_index: int, other_tier: int) -> bool:
        """Whether two tiers are asked a sample in the same form."""
        if self._voices.is_one:
            return True
        forms = FORMS.expect(sample)
        return forms.key(tier_index) == forms.key(other_tier)

    def ready_sample(self, sample: GenerateReqInput, tier_index: int) -> GenerateReqInput | None:
        """A sample as a tier is asked it; None where that is not made yet."""
        if self._voices.is_one:
            return sample
        forms = FORMS.expect(sample)
        form = forms.ready_form(tier_index)
        return None if form is None else form.samples[_sample_index(forms, sample)]

    async def all(self, samples: list[GenerateReqInput], tier_index: int) -> list[GenerateReqInput]:
        """A prompt's samples as a tier is asked them, their text encoded.

        Raises:
            UnreadablePromptError: if the tier cannot be asked the prompt.
            Exception: for the voice in which the prompt came, as SGLang raises it.
        """
        if self._voices.is_one:
            await self._encode(samples, tier_index)
            return samples
        forms = FORMS.expect(samples[0])
        form = forms.ready_form(tier_index)
        if form is None:
            form = await forms.made(tier_index, lambda: self._make(forms, tier_index))
        return form.samples

    async def single(self, sample: GenerateReqInput, tier_index: int) -> GenerateReqInput:
        """As `all`, of one sample whose text may stay as it is in a cascade of one voice."""
        if self._voices.is_one:
            return sample
        forms = FORMS.expect(sample)
        return (await self.all([sample], tier_index))[_sample_index(forms, sample)]

    def sampling_params(self, request: GenerateReqInput, tier_index: int) -> dict[str, Any]:
        """Of a client's request as a tier was asked it."""
        forms = FORMS.get(request)
        form = None if forms is None else forms.ready_form(tier_index)
        params: Any = request.sampling_params if form is None else form.samples[0].sampling_params
        if isinstance(params, list):
            params = params[0] if params else None
        return params or {}

    async def _make(self, forms: PromptForms, tier_index: int) -> Form:
        client_form = forms.client_form
        if forms.key(tier_index) == forms.key(forms.tier):
            await self._encode(client_form.samples, tier_index)
            return client_form
        try:
            if forms.chat is not None:
                form = await self._rendered(forms.chat, forms, tier_index)
            else:
                samples = [_fresh(sample, forms.text) for sample in client_form.samples]
                form = Form(samples=samples, adapted=client_form.adapted)
            await self._encode(form.samples, tier_index)
        except Exception as error:
            first_line = (str(error).strip() or type(error).__name__).split("\n")[0]
            raise UnreadablePromptError(first_line) from error
        return form

    async def _encode(self, samples: list[GenerateReqInput], tier_index: int) -> None:
        """Encode a prompt's text by a tier's tokenizer, for all samples, in place."""
        first = samples[0]
        if not is_unencoded(first):
            return
        input_ids = await encoded(self._views.manager(tier_index), first.text)
        self._guard.check_text(input_ids, tier_index)
        for sample in samples:
            sample.input_ids = input_ids
            sample.text = None

    async def _rendered(self, source: PromptSource, forms: PromptForms, tier_index: int) -> Form:
        """A chat as the handler of a tier's voice makes a prompt of it."""
        handlers = self._views.handlers(self._voices.of_tier(tier_index))
        adapted, chat = await source.rendered(handlers)
        client_form = forms.client_form
        adapted.received_time = client_form.adapted.received_time
        # A long prompt takes a while to check.
        samples = await asyncio.to_thread(self._checked, adapted, tier_index)
        for sample, client_sample in zip(samples, client_form.samples, strict=True):
            sample.rid = client_sample.rid
            FORMS.set(sample, forms)
        return Form(samples=samples, adapted=adapted, chat=chat)

    def _checked(self, adapted: GenerateReqInput, tier_index: int) -> list[GenerateReqInput]:
        self._guard.check(adapted, tier_index)
        (samples,) = split_request(adapted, self._views.manager(tier_index))
        return samples


def _sample_index(forms: PromptForms, sample: GenerateReqInput) -> int:
    """Which of a prompt's samples this is, in whatever form."""
    rids = [client_sample.rid for client_sample in forms.client_form.samples]
    return rids.index(sample.rid)


def _fresh(sample: GenerateReqInput, text: str | None) -> GenerateReqInput:
    """A copy that is not encoded yet."""
    fresh = copy.copy(sample)
    fresh.text, fresh.input_ids = text, None
    PROMPT.set(fresh, None)
    return fresh


async def encoded(manager: TokenizerManager, text: str) -> list[int]:
    """A text in a tokenizer's ids."""
    is_short = len(text) < LONG_TEXT_CHARACTERS
    # SGLang's dynamic batching encodes in a thread of its own.
    if is_short or manager.async_dynamic_batch_tokenizer is not None:
        input_ids, _ = await manager._tokenize_texts(text)
    else:
        input_ids, _ = await asyncio.to_thread(asyncio.run, manager._tokenize_texts(text))
    token_ids: list[int] = input_ids
    return token_ids
