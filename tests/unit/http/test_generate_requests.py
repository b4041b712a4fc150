"""What comes in before SGLang's warm-up is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from sglang.srt.managers.io_struct import GenerateReqInput
from sglang.srt.managers.tokenizer_manager import ServerStatus

from cascadia_sglang.http.generate_requests import WARM_UP_SAMPLING, WARM_UP_TEXT, Door

WORKERS = [SimpleNamespace(tiers=(tier,)) for tier in (0, 0, 1)]


class Engine:
    """Notes the workers that a request ran on."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.guard = SimpleNamespace(check=lambda _request, _tier: None)

    def connect(self, manager: object, generate: object) -> None:
        del manager, generate

    def split(self, request: Any) -> list[list[Any]]:
        return [[request]]

    async def tokenise(self, samples: list[Any], tier: int) -> None:
        del samples, tier

    def new_rid_base(self) -> str:
        return "rid"

    async def run_on(self, worker: Any, sample: Any, rid: str, order: Any) -> tuple[Any, None]:
        del sample, rid, order
        self.runs.append(worker.tiers[0])
        return {"text": "Paris"}, None


class Router:
    """Answers as the cascade does."""

    async def answer(
        self, request: Any, http_request: Any, controls: Any, summary: Any
    ) -> AsyncIterator[Any]:
        del request, http_request, controls, summary
        yield {"text": "of the cascade"}


async def outputs_of(request: GenerateReqInput, status: ServerStatus) -> tuple[list[Any], Engine]:
    engine = Engine()
    pool = SimpleNamespace(ready=lambda: WORKERS)
    door = Door(Router(), engine, pool, SimpleNamespace())  # type: ignore[arg-type]
    door.connect(SimpleNamespace(server_status=status, auto_create_handle_loop=lambda: None))
    return [output async for output in door.answer(None, request, None)], engine


@pytest.mark.parametrize("text", [WARM_UP_TEXT, [WARM_UP_TEXT]])
async def test_sglangs_warm_up_runs_on_every_worker(text: Any) -> None:
    request = GenerateReqInput(text=text, sampling_params=WARM_UP_SAMPLING)
    outputs, engine = await outputs_of(request, ServerStatus.Starting)
    assert (outputs, engine.runs) == ([{"text": "Paris"}], [0, 0, 1])


@pytest.mark.parametrize(
    "request_",
    [
        GenerateReqInput(text="rev abc", sampling_params=WARM_UP_SAMPLING),
        GenerateReqInput(text=WARM_UP_TEXT, sampling_params={"max_new_tokens": 400}),
        GenerateReqInput(text=[WARM_UP_TEXT, "rev abc"], sampling_params=WARM_UP_SAMPLING),
        GenerateReqInput(input_ids=[1, 2], sampling_params=WARM_UP_SAMPLING),
    ],
    ids=["text", "length", "batch", "ids"],
)
async def test_a_client_that_is_early_asks_the_cascade(request_: GenerateReqInput) -> None:
    outputs, engine = await outputs_of(request_, ServerStatus.Starting)
    assert (outputs, engine.runs) == ([{"text": "of the cascade"}], [])


async def test_the_text_of_the_warm_up_is_a_question_once_the_server_is_ready() -> None:
    request = GenerateReqInput(text=WARM_UP_TEXT, sampling_params=WARM_UP_SAMPLING)
    outputs, engine = await outputs_of(request, ServerStatus.Up)
    assert (outputs, engine.runs) == ([{"text": "of the cascade"}], [])
