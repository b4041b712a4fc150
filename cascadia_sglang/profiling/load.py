"""Made-up load that shows a worker's step times: batches of many sizes and contexts.

Prompts are random token ids, so that no cache knows them and their lengths are exact; answers run
to their limit.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any

from cascadia_sglang.errors import WorkerError

_TIMEOUT_S = 300.0
_DECODE_TOKENS = 12
_PROMPTS = (8, 64, 256)
_PREFILLS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How much is asked.

    Attributes:
        rows: batch sizes that decode.
        largest_prompt: tokens of the longest prompt.
        most_tokens: of all prompts of a batch together.
        rounds: of all sizes at most; one that begins after `seconds` is left out.
    """

    rows: Sequence[int]
    largest_prompt: int
    most_tokens: int
    rounds: int
    seconds: float


class Load:
    """Asks one tier of a running cascade."""

    def __init__(self, port: int, tier: str, vocabulary: int, seed: int) -> None:
        self._port = port
        self._tier = tier
        self._vocabulary = vocabulary
        self._random = Random(seed)

    def prompt(self, tokens: int) -> list[int]:
        """Random ids from the upper half of the vocabulary, where special tokens are rare."""
        low = self._vocabulary // 2
        return [self._random.randrange(low, self._vocabulary) for _ in range(tokens)]

    def run(self, plan: LoadPlan, on_done: Callable[[int, int], None]) -> None:
        """Prefills of every size, alone, together and behind a cached prefix; decoding likewise.

        Args:
            on_done: hears how many requests are done, and how many there are at most.

        Raises:
            WorkerError: if the server does not answer with success.
        """
        started, done = time.monotonic(), 0
        for number in range(plan.rounds):
            if number > 0 and time.monotonic() - started > plan.seconds:
                return
            requests = list(self._round(plan))
            for prompts, tokens in requests:
                self.ask(prompts, tokens)
                done += 1
                on_done(done, plan.rounds * len(requests))

    def _round(self, plan: LoadPlan) -> Iterator[tuple[list[list[int]], int]]:
        """Prompts and answer tokens of every request of a round, in order."""
        for size in (s for s in _PREFILLS if s <= plan.largest_prompt):
            prompt = self.prompt(size)
            yield [prompt], 3
            suffix = max(1, size // 4)
            if size + suffix <= plan.largest_prompt:
                yield [prompt + self.prompt(suffix)], 3
        for rows in plan.rows:
            for tokens in _PROMPTS:
                if tokens <= plan.largest_prompt and rows * tokens <= plan.most_tokens:
                    yield [self.prompt(tokens) for _ in range(rows)], _DECODE_TOKENS

    def ask(
        self, prompts: Sequence[Sequence[int]], tokens: int, headers: dict[str, str] | None = None
    ) -> float:
        """Seconds until all answers of this many tokens are there, asked for in one request.

        Args:
            headers: what routes it; the tier alone by default.
        """
        sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
        ids: Any = list(prompts) if len(prompts) > 1 else prompts[0]
        body = json.dumps({"input_ids": ids, "sampling_params": sampling})
        routed = {"x-cascadia-tier": self._tier} if headers is None else headers
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_S)
        try:
            connection.connect()
            started = time.monotonic()
            connection.request(
                "POST", "/generate", body, {"content-type": "application/json", **routed}
            )
            response = connection.getresponse()
            text = response.read()
            seconds = time.monotonic() - started
        except (OSError, http.client.HTTPException) as error:
            raise WorkerError(f"the server on port {self._port} broke off: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise WorkerError(f"the server answered {response.status}: {text[:300]!r}")
        return seconds

    def ask_many(self, count: int, width: int, headers: dict[str, str] | None = None) -> None:
        """Ask single short questions, `width` at a time."""
        prompts = [self.prompt(8) for _ in range(count)]
        with ThreadPoolExecutor(width) as threads:
            for done in [threads.submit(self.ask, [prompt], 2, headers) for prompt in prompts]:
                done.result()
