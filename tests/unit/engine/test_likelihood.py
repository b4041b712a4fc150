"""Prompt and answer are read in one prefill, and only the answer's tokens count."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.engine.likelihood import LikelihoodReader
from cascadia_sglang.engine.requests import prompt_of
from cascadia_sglang.errors import AttemptFailedError, WorkerUnavailableError
from cascadia_sglang.pool.pool import WritablePool
from tests.unit.engine.test_sglang_engine import LIMITS, make_engine, make_sample


class Reading:
    """Stands in for SGLang's `generate_request`: one log-probability a token that was asked for."""

    def __init__(self, logprobs: list[float | None]) -> None:
        self.requests: list[GenerateReqInput] = []
        self._logprobs = logprobs

    async def __call__(
        self, manager: Any, request: GenerateReqInput, http_request: Any
    ) -> AsyncIterator[dict[str, Any]]:
        del manager, http_request
        self.requests.append(request)
        reported = [(logprob, 0, None) for logprob in self._logprobs]
        yield {"text": "", "meta_info": {"id": request.rid, "input_token_logprobs": reported}}


async def test_it_is_the_mean_over_the_answers_tokens_behind_the_tiers_own_prompt() -> None:
    reading = Reading([None, -0.5, -1.5])
    engine, pool, worker = make_engine(reading)  # type: ignore[arg-type]
    sample = make_sample(text="ab")
    await engine.tokenise([sample], 0)
    assert await LikelihoodReader(pool, engine, 1)(sample, 0, (8, 9)) == -1.0
    [request] = reading.requests
    # The second tier's suffix is one token, its length.
    assert request.input_ids == [97, 98, 7, 8, 9]
    assert request.logprob_start_len == 2
    assert request.sampling_params["max_new_tokens"] == 0
    assert request.return_logprob
    assert not worker.rids
    assert sample.input_ids == [97, 98]


@pytest.mark.parametrize("logprobs", [[], [-0.5], [None, None, -0.5]])
async def test_a_worker_that_does_not_rate_every_token_is_an_error(
    logprobs: list[float | None],
) -> None:
    engine, pool, _ = make_engine(Reading(logprobs))  # type: ignore[arg-type]
    sample = make_sample(text="ab")
    await engine.tokenise([sample], 0)
    with pytest.raises(AttemptFailedError, match="log-probabilities came for 2 tokens"):
        await LikelihoodReader(pool, engine, 0)(sample, 0, (8, 9))


async def test_what_does_not_fit_the_tier_is_not_read() -> None:
    reading = Reading([])
    engine, pool, _ = make_engine(reading)  # type: ignore[arg-type]
    sample = make_sample(text="ab")
    await engine.tokenise([sample], 0)
    assert await LikelihoodReader(pool, engine, 0)(sample, 0, range(88)) is None
    assert reading.requests == []


async def test_an_answer_in_tokens_that_the_model_lacks_is_not_read() -> None:
    """The worker would end with all its other requests."""
    reading = Reading([])
    engine, pool, _ = make_engine(reading)  # type: ignore[arg-type]
    sample = make_sample(text="ab")
    await engine.tokenise([sample], 0)
    beyond = (LIMITS.vocabulary,)
    assert await LikelihoodReader(pool, engine, 0)(sample, 0, beyond) is None
    assert reading.requests == []


async def test_without_a_worker_it_is_an_error() -> None:
    engine, _, _ = make_engine()
    sample = make_sample(text="ab")
    with pytest.raises(WorkerUnavailableError):
        await LikelihoodReader(WritablePool(), engine, 1)(sample, 0, (8,))


async def test_a_token_that_is_ruled_out_counts_as_very_unlikely() -> None:
    engine, pool, _ = make_engine(Reading([float("-inf"), 0.0]))  # type: ignore[arg-type]
    sample = make_sample(text="ab")
    await engine.tokenise([sample], 0)
    assert await LikelihoodReader(pool, engine, 0)(sample, 0, (8, 9)) == -50.0


async def test_a_turn_of_a_session_has_no_prompt_of_its_own() -> None:
    engine, _, _ = make_engine()
    sample = make_sample(text="ab")
    await engine.tokenise([sample], 0)
    assert prompt_of(sample) is not None
    sample.session_params = {"id": "s"}
    assert prompt_of(sample) is None
