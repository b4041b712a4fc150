"""Prefixes are warmed where it pays, in chunks, and never in anybody's way."""

import asyncio

import pytest

from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.warming import LIMIT_S, Quietness, Warmer
from cascadia_sglang.testing.time import run_in_virtual_time

CHUNK = 16
LONG = Prompt(range(5 * CHUNK + 3))


class FakePrefiller:
    """One worker a tier; remembers what it was asked to compute."""

    def __init__(self, waiting: int = 0, running: int = 0, seconds: float = 1.0) -> None:
        self.waiting, self.running, self.seconds = waiting, running, seconds
        self.held = 0
        self.entry_held = 0
        self.chunks: list[int] = []
        self.error: Exception | None = None

    def holder(self, tier_index: int, prompt: Prompt) -> Quietness | None:
        del prompt
        held = self.held if tier_index else self.entry_held
        return Quietness(
            worker_id="large-0", held_tokens=held, waiting=self.waiting, running=self.running
        )

    async def prefill(self, worker_id: str, prompt: Prompt, tokens: int) -> int:
        del worker_id, prompt
        self.chunks.append(tokens)
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        done, self.held = tokens - self.held, tokens
        return done


def likely(warmer: Warmer) -> Warmer:
    """A warmer that has seen nearly everything escalate."""
    for _ in range(20):
        warming = warmer.begin(Prompt(range(CHUNK)), 0, 1, is_first=True)
        warming.escalated = True
        warmer.settled(warming, 1)
    return warmer


def course(prefiller: FakePrefiller, mode: str = "auto", after_s: float = 60.0, **verdict):
    """Warm one long prompt, with the verdict after some time; the warmer then."""

    async def main() -> Warmer:
        warmer = likely(Warmer(prefiller, mode, CHUNK, 2, Metrics(("small", "large"))))
        await asyncio.sleep(0)
        prefiller.chunks.clear()
        warming = warmer.begin(LONG, 0, 1, is_first=True)
        if "chance" in verdict:
            warming.learn_chance(verdict["chance"])
        await asyncio.sleep(after_s)
        warming.escalated = verdict.get("escalated", True)
        warmer.settled(warming, 1)
        await asyncio.sleep(2 * LIMIT_S)
        assert warming.task is not None
        assert warming.task.done()
        return warmer

    return run_in_virtual_time(main())


def test_a_prompt_is_warmed_chunk_by_chunk_up_to_its_last_whole_one():
    prefiller = FakePrefiller()
    warmer = course(prefiller)
    assert prefiller.chunks == [CHUNK * n for n in range(1, 6)]
    assert warmer.counts[1].warmed_tokens == 5 * CHUNK
    assert (warmer.counts[1].finished, warmer.counts[1].left) == (1, 0)
    warmer.learn_cached(1, LONG, 4 * CHUNK)
    warmer.learn_cached(1, LONG, 4 * CHUNK)
    assert warmer.counts[1].used_tokens == 4 * CHUNK


def test_what_is_held_already_is_not_computed_again():
    prefiller = FakePrefiller()
    prefiller.held = 3 * CHUNK + 5
    course(prefiller)
    assert prefiller.chunks == [4 * CHUNK, 5 * CHUNK]


def test_an_escalation_goes_on_from_what_is_warm_by_then():
    prefiller = FakePrefiller()
    warmer = course(prefiller, after_s=2.5)
    assert prefiller.chunks == [CHUNK, 2 * CHUNK, 3 * CHUNK]
    assert (warmer.counts[1].finished, warmer.counts[1].left) == (0, 1)


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_an_acceptance_ends_it_after_the_chunk_under_way(mode):
    prefiller = FakePrefiller()
    course(prefiller, mode, after_s=1.5, escalated=False)
    assert prefiller.chunks == [CHUNK, 2 * CHUNK]


def test_an_answer_that_will_be_accepted_is_not_warmed_for():
    prefiller = FakePrefiller()
    assert course(prefiller, chance=0.9, escalated=False).counts[1].warmed_tokens == 0
    assert course(FakePrefiller(), "always", chance=0.9).counts[1].warmed_tokens == 5 * CHUNK


def test_a_worker_with_something_waiting_is_left_alone_until_it_has_not():
    prefiller = FakePrefiller(waiting=1)

    async def main() -> None:
        warmer = likely(Warmer(prefiller, "auto", CHUNK, 2, Metrics(("small", "large"))))
        await asyncio.sleep(0)
        prefiller.chunks.clear()
        warmer.begin(LONG, 0, 1, is_first=True)
        await asyncio.sleep(1.0)
        assert prefiller.chunks == []
        prefiller.waiting = 0
        await asyncio.sleep(1.0)
        assert prefiller.chunks == [CHUNK]

    run_in_virtual_time(main())


def test_the_busier_a_worker_the_surer_it_must_be():
    assert course(FakePrefiller(running=500)).counts[1].warmed_tokens == 0
    assert course(FakePrefiller(running=500), "always").counts[1].warmed_tokens == 5 * CHUNK


def test_prefixes_that_come_back_are_warmed_though_this_answer_is_accepted():
    """Nine in ten prompts have been seen before, and every third of them escalates."""
    prefiller = FakePrefiller()

    async def main() -> None:
        warmer = Warmer(prefiller, "auto", CHUNK, 2, Metrics(("small", "large")))
        prefiller.held = 10 * CHUNK
        for number in range(200):
            prefiller.entry_held = 0 if number % 10 == 0 else 10 * CHUNK
            warming = warmer.begin(LONG, 0, 1, is_first=True)
            warming.escalated = number % 3 == 0
            warmer.settled(warming, 1)
            await asyncio.sleep(0)
        prefiller.held = 0
        await asyncio.sleep(1.0)
        prefiller.chunks.clear()
        warming = warmer.begin(LONG, 0, 1, is_first=True)
        warming.learn_chance(1.0)
        warmer.settled(warming, 1)
        await asyncio.sleep(LIMIT_S - 1.0)
        assert prefiller.chunks == [CHUNK * n for n in range(1, 6)]

    run_in_virtual_time(main())


def test_short_prompts_and_prompts_of_no_known_tokens_are_never_warmed():
    warmer = Warmer(FakePrefiller(), "always", CHUNK, 2, Metrics(("small", "large")))
    assert warmer.is_long(LONG)
    assert not warmer.is_long(Prompt(range(CHUNK - 1)))
    assert not warmer.is_long(None)
    assert not Warmer(FakePrefiller(), "off", CHUNK, 2, Metrics(("small", "large"))).is_long(LONG)


def test_a_failure_is_logged_and_felt_by_nobody(caplog):
    prefiller = FakePrefiller()
    prefiller.error = RuntimeError("no")
    warmer = course(prefiller)
    assert warmer.counts[1].left >= 1
    assert "warming tier 1 failed: no" in caplog.text


# Other tokens


class TokenPrefiller(FakePrefiller):
    """Remembers the prompts, too."""

    def __init__(self, waiting: int = 0) -> None:
        super().__init__(waiting, seconds=0.1)
        self.prompts: list[Prompt] = []

    async def prefill(self, worker_id: str, prompt: Prompt, tokens: int) -> int:
        self.prompts.append(prompt)
        return await super().prefill(worker_id, prompt, tokens)


def course_in_other_tokens(prefiller: TokenPrefiller, chance: float) -> tuple[Warmer, int]:
    """Warm a prompt whose next tier has twice as many tokens for it; how often these were made."""
    longer = Prompt(range(1000, 1000 + 2 * len(LONG.token_ids)))
    made = 0

    async def main() -> Warmer:
        async def next_prompt() -> Prompt:
            nonlocal made
            made += 1
            await asyncio.sleep(0.5)
            return longer

        warmer = likely(Warmer(prefiller, "auto", CHUNK, 2, Metrics(("small", "large"))))
        await asyncio.sleep(0)
        prefiller.chunks.clear()
        prefiller.prompts.clear()
        with warmer.during(LONG, 0, 1, is_first=True, next_prompt=next_prompt) as warming:
            assert warming is not None
            warming.learn_chance(chance)
            await asyncio.sleep(60.0)
            warming.escalated = True
        await asyncio.sleep(2 * LIMIT_S)
        return warmer

    warmer = run_in_virtual_time(main())
    assert all(prompt is longer for prompt in prefiller.prompts)
    return warmer, made


def test_the_next_tiers_own_tokens_are_warmed() -> None:
    prefiller = TokenPrefiller()
    warmer, made = course_in_other_tokens(prefiller, chance=0.0)
    assert made == 1
    whole = 2 * len(LONG.token_ids) // CHUNK
    assert prefiller.chunks == [CHUNK * n for n in range(1, whole + 1)]
    assert warmer.counts[1].warmed_tokens == CHUNK * whole


def test_what_is_not_worth_warming_is_not_tokenised() -> None:
    prefiller = TokenPrefiller()
    _, made = course_in_other_tokens(prefiller, chance=0.95)
    assert made == 0
    assert prefiller.chunks == []
