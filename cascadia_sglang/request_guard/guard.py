"""The guard before dispatch: no worker sees a request that could end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.voices import Voices
from cascadia_sglang.errors import RequestError
from cascadia_sglang.pool.pool import WorkerPool
from cascadia_sglang.request_guard.request_check import check_ids, check_request
from cascadia_sglang.request_guard.request_table import Scope

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

# The router sets these labels itself.
_OWN_LABELS = frozenset({"tier", "worker"})
# A shorter text is tokenised in milliseconds.
_LONG_TEXT_CHARACTERS = 100_000


class RequestGuard:
    """Checks requests by what the workers of this server take."""

    def __init__(
        self, pool: WorkerPool, voices: Voices, max_requests: int, max_samples: int
    ) -> None:
        """`max_requests` and `max_samples` are those of `Scope`."""
        self._pool = pool
        self._voices = voices
        self._max_requests = max_requests
        self._max_samples = max_samples
        self._manager: TokenizerManager  # set by `connect`, before any request
        self._tokenizers: Sequence[Any] = ()
        self._scopes: dict[int, Scope] = {}  # by the number of a tokenizer
        self._longest_token: int | None = None  # in characters

    def connect(self, manager: TokenizerManager, tokenizers: Sequence[Any]) -> None:
        """Take SGLang's tokenizer manager, and the tokenizers of all voices."""
        self._manager = manager
        self._tokenizers = tokenizers

    def check(self, request: GenerateReqInput, tier_index: int) -> None:
        """Check a request before SGLang normalises it; 8.0 is read as 8, in place.

        Args:
            tier_index: to whose tokenizer the request's token ids belong.

        Raises:
            RequestError: 400 that names the field, its value and what is allowed.
        """
        check_request(request, self._scope_of(tier_index))
        text = request.text
        for prompt in text if isinstance(text, list) else [text or ""]:
            if len(prompt) > _LONG_TEXT_CHARACTERS:
                self._check_length(prompt)

    def check_text(self, input_ids: list[int], tier_index: int) -> None:
        """Check what a tier's tokenizer made of a text: it may know tokens that a model does not.

        Raises:
            RequestError: 400 for no token at all, or one beyond the smallest vocabulary.
        """
        if not input_ids:
            raise RequestError(400, "text must hold at least one token", "text")
        check_ids(input_ids, self._scope_of(tier_index), "text")

    def known_ids(self, token_ids: Sequence[int], tier_index: int) -> Sequence[int]:
        """The leading tokens that every model of a tier's tokenizer knows, as `check_text` has it.

        For what is no part of a prompt, such as a draft, and so is no reason to refuse it.
        """
        vocabulary = self._scope_of(tier_index).vocabulary
        if max(token_ids, default=0) < vocabulary:
            return token_ids
        first = next(index for index, token in enumerate(token_ids) if token >= vocabulary)
        return token_ids[:first]

    def _check_length(self, text: str) -> None:
        """Refuse a text that no tier has room for, before it is tokenised on the event loop."""
        if self._manager.server_args.allow_auto_truncate:
            return
        if self._longest_token is None:
            self._longest_token = max(
                len(t) for tokenizer in self._tokenizers for t in tokenizer.get_vocab()
            )
        context = max((w.limits.context_tokens for w in self._pool if w.limits), default=None)
        if context is not None and len(text) > context * self._longest_token:
            most = f"at most {context * self._longest_token} characters fit"
            message = f"text has {len(text)} characters; {most} the {context} tokens of context"
            raise RequestError(400, message, "text")

    def _scope_of(self, tier_index: int) -> Scope:
        number = self._voices.of_tier(tier_index).tokenizer
        # An id that one model of a tokenizer lacks is a token of none.
        tiers = self._voices.tiers_of_tokenizer(number)
        vocabulary = self._pool.vocabulary(tiers) or self._manager.model_config.vocab_size
        scope = self._scopes.get(number)
        if scope is None or scope.vocabulary != vocabulary:
            arguments, labels = self._manager.server_args, None
            if self._manager.enable_metrics:
                configured = arguments.tokenizer_metrics_allowed_custom_labels or ()
                labels = frozenset(configured) - _OWN_LABELS
            scope = self._scopes[number] = Scope(
                vocabulary=vocabulary,
                max_samples=self._max_samples,
                max_requests=self._max_requests,
                labels=labels,
                allows_processors=arguments.enable_custom_logit_processor,
            )
        return scope
