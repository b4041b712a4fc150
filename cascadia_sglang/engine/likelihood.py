"""How likely a tier finds an answer: it reads prompt and answer in one prefill, and writes none."""

from collections.abc import Sequence
from typing import Any

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.engine.sglang_engine import TokenizerEngine
from cascadia_sglang.errors import AttemptFailedError, WorkerUnavailableError
from cascadia_sglang.pool.pool import WorkerPool
from cascadia_sglang.self_calibration.label import mean_likelihood


class LikelihoodReader:
    """Reads answers on one tier."""

    def __init__(self, pool: WorkerPool, engine: TokenizerEngine, tier_index: int) -> None:
        self._pool = pool
        self._engine = engine
        self._tier_index = tier_index

    async def __call__(
        self, sample: GenerateReqInput, writer_tier: int, answer_ids: Sequence[int]
    ) -> float | None:
        """Mean log-probability of an answer's tokens, natural logarithm; None where there is none.

        Args:
            sample: tokenised.
            writer_tier: that wrote the answer. It is read in the tokens of the tier that reads.
            answer_ids: with the token that ended it, if any.

        Raises:
            WorkerUnavailableError: if the tier has no worker.
            WorkerLostError: if the worker was lost.
            AttemptFailedError: if it did not say.
        """
        worker = self._pool.pick(self._tier_index)
        if worker is None:
            raise WorkerUnavailableError("the last tier has no worker that accepts requests")
        prompt_ids = await self._engine.ids_for(sample, self._tier_index)
        read = await self._engine.translated(answer_ids, writer_tier, self._tier_index)
        answer_ids = read.token_ids
        if not answer_ids:
            return None
        limits = worker.limits
        if limits is not None and len(prompt_ids) + len(answer_ids) >= limits.input_tokens:
            return None
        meta = await self._engine.read(
            worker,
            [*prompt_ids, *answer_ids],
            return_logprob=True,
            # The first place that it tells is that of the token before, which it does not rate.
            logprob_start_len=len(prompt_ids) - 1,
        )
        return mean_likelihood(_logprobs(meta, len(answer_ids)))


def _logprobs(meta: dict[str, Any], count: int) -> list[float]:
    """Of the last `count` tokens of what was read."""
    entries = (meta.get("input_token_logprobs") or [])[-count:]
    logprobs = [entry[0] for entry in entries if entry[0] is not None]
    if len(logprobs) != count:
        raise AttemptFailedError(f"{len(logprobs)} log-probabilities came for {count} tokens")
    return logprobs
