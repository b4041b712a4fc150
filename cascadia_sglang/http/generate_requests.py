"""Replaces SGLang's `generate_request` and `abort_request` by the cascade's."""

import asyncio
import copy
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import fastapi
from sglang.srt.constants import HEALTH_CHECK_RID_PREFIX
from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.engine.sglang_engine import TokenizerEngine
from cascadia_sglang.engine.target_tiers import target_tiers
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.trace import SCOPE_KEY, note_error, sglang_error
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.pool.pool import WorkerPool
from cascadia_sglang.pool.sessions import Sessions
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import attempt_rid
from cascadia_sglang.router.output_splitting import Pieces
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.sglang_state import SUMMARY, VOICE_BOUND

# What SGLang asks itself before it says that it is ready (http_server._execute_server_warmup).
WARM_UP_TEXT = "The capital city of France is"
WARM_UP_SAMPLING = {"temperature": 0, "max_new_tokens": 8}


class Door:
    """Sends what comes in to the cascade, or around it where it is no question to the cascade."""

    def __init__(
        self,
        router: CascadeRouter,
        engine: TokenizerEngine,
        pool: WorkerPool,
        sessions: Sessions,
    ) -> None:
        self._router = router
        self._engine = engine
        self._pool = pool
        self._sessions = sessions
        self.manager: Any = None
        self._starting: Any = None

    def connect(self, manager: Any) -> None:
        """Take the tokenizer manager."""
        from sglang.srt.managers.tokenizer_manager import ServerStatus

        self.manager = manager
        self._starting = ServerStatus.Starting

    async def answer(self, generate: Any, request: Any, http_request: Any) -> AsyncIterator[Any]:
        """What SGLang's `generate_request` becomes.

        Embeddings, health checks and whatever else is no question to the cascade go to one worker.
        """
        self.manager.auto_create_handle_loop()
        self._engine.connect(self.manager, generate)
        rid = getattr(request, "rid", None)
        is_health_check = isinstance(rid, str) and rid.startswith(HEALTH_CHECK_RID_PREFIX)
        if not isinstance(request, GenerateReqInput) or is_health_check:
            try:
                if isinstance(request, GenerateReqInput):
                    self._engine.guard.check(request, 0)
                async for output in generate(self.manager, request, http_request):
                    yield output
            except RequestError as error:
                note_error(http_request, error)
                raise sglang_error(error, request, http_request) from None
            return
        if self.manager.server_status is self._starting and _is_warm_up(request):
            yield await self._warm_up(request)
            return
        trace = http_request.scope.get(SCOPE_KEY) if http_request is not None else None
        controls = trace.controls if trace is not None else Controls()
        summary = trace.summary if trace is not None else ResponseSummary()
        try:
            tier = self._asked_tier(request, controls)
            self._engine.guard.check(request, tier or 0)
            if tier != controls.tier:
                controls = dataclasses.replace(controls, tier=tier)
            SUMMARY.set(request, summary)
            if trace is not None and trace.is_voice_bound:
                VOICE_BOUND.set(request, True)
            if request.stream and trace is not None and trace.on_stream is not None:
                trace.on_stream()
            outputs = self._router.answer(request, http_request, controls, summary)
            if trace is None or not (request.stream and trace.parses_calls):
                async for output in outputs:
                    yield output
                return
            pieces: Pieces | None = None
            async for output in outputs:
                if pieces is None:
                    decode = self._engine.decoder(request, max(0, summary.tier_index))
                    pieces = Pieces(decode, self._engine.is_incremental)
                for piece in pieces.of(output):
                    yield piece
                    # Others get their turn: a long answer has many pieces.
                    await asyncio.sleep(0)
        except RequestError as error:
            note_error(http_request, error)
            raise sglang_error(error, request, http_request, summary.is_early) from None
        except ValueError as error:
            note_error(http_request, RequestError(400, str(error)))
            raise
        except fastapi.HTTPException as error:
            refusal = RequestError(error.status_code, str(error.detail))
            note_error(http_request, refusal)
            raise sglang_error(refusal, request, http_request, summary.is_early) from None

    def _asked_tier(self, request: GenerateReqInput, controls: Controls) -> int | None:
        """The only tier that a request may go to; None for any.

        Raises:
            RequestError: 400 for a session that is not open.
        """
        if isinstance(request.session_params, dict) and request.session_params:
            # A session's history lies in one worker.
            return self._sessions.worker_of(request.session_params).tiers[0]
        tiers = target_tiers()
        return controls.tier if tiers is None else min(tiers)

    def abort(self, rid: str, is_all: bool) -> list[str] | None:
        """Rids that SGLang is to abort in place of the caller's; None leaves the call as it is."""
        if is_all:
            self._router.abort_all()
            return None
        rids = self._router.abort(rid)
        return None if rids is None else sorted(rids)

    async def _warm_up(self, request: Any) -> Any:
        """SGLang's first request: every worker runs it, so that none is cold when it serves."""
        samples = self._engine.split(copy.copy(request))[0]
        await self._engine.tokenise(samples, 0)
        base = self._engine.new_rid_base()
        output = None
        for number, worker in enumerate(self._pool.ready()):
            order = AttemptOrder(
                tier_index=worker.tiers[0],
                threshold=0.0,
                early_abort=None,
                earlier_scores=(None,) * worker.tiers[0],
            )
            output, _ = await self._engine.run_on(
                worker, samples[0], attempt_rid(base, number), order
            )
        return output


def _is_warm_up(request: GenerateReqInput) -> bool:
    """Whether this is SGLang's own request. A client may ask before the server is ready, too."""
    texts = request.text if isinstance(request.text, list) else [request.text]
    return (
        request.sampling_params == WARM_UP_SAMPLING and bool(texts) and set(texts) == {WARM_UP_TEXT}
    )
