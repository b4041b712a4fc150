"""Which request ends workers, and where a suspected one runs meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.router.poison_requests import (
    ISOLATION_S,
    MEMORY_S,
    RETURN_S,
    Assignment,
    Death,
    Suspect,
    Suspects,
)
from cascadia_sglang.testing.time import run_in_virtual_time

BODY = b"digest"


class Workers:
    """The ready workers of each tier, as lists that a test may change."""

    def __init__(self, *tiers: list[str]) -> None:
        self.tiers = tiers
        self.suspects = Suspects(lambda tier: self.tiers[tier], lambda _: None, Metrics(()))

    def change(self, tier: int, *workers: str) -> None:
        self.tiers[tier][:] = workers
        self.suspects.schedule()


def died(worker_id: str = "small-0") -> Death:
    return Death(worker_id, [], asyncio.get_running_loop().time())


def suspected(suspects: Suspects, death: Death, count: int) -> list[Suspect]:
    """Prompts that were on a worker when it died, the likeliest culprit first."""
    prompts = [Suspect(rank=number) for number in range(count)]
    for prompt in prompts:
        assert not suspects.accuse(prompt, death)
    return prompts


def runs(main: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(main)


def test_a_suspect_runs_with_no_other_suspect_on_its_worker() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        first, second = suspected(suspects, died(), 2)
        assert await suspects.assign(first, [0]) == Assignment(0, "small-1")
        waiting = asyncio.create_task(suspects.assign(second, [0]))
        await asyncio.sleep(1.0)
        assert not waiting.done()
        suspects.clear(first, None)
        suspects.leave(first)
        assert await waiting == Assignment(0, "small-1")

    runs(main())


def test_several_workers_run_suspects_at_the_same_time_the_likeliest_first() -> None:
    async def main() -> None:
        suspects = Workers(["small-1", "small-2"], ["large-0"]).suspects
        prompts = suspected(suspects, died(), 4)
        tasks = [
            asyncio.create_task(suspects.assign(prompt, [0, 1])) for prompt in reversed(prompts)
        ]
        await asyncio.sleep(1.0)
        placed = [task.result() if task.done() else None for task in reversed(tasks)]
        expected = [
            Assignment(0, "small-1"),
            Assignment(0, "small-2"),
            Assignment(1, "large-0"),
            None,
        ]
        assert placed == expected
        for task in tasks:
            task.cancel()

    runs(main())


def test_the_second_death_names_the_suspect_that_ran_there_and_frees_all_others() -> None:
    async def main() -> None:
        explained: list[str] = []
        workers = Workers(["small-1"])
        suspects = workers.suspects
        first = Death("small-0", [], 0.0, lambda: explained.append("first"))
        culprit, other = suspected(suspects, first, 2)
        await suspects.assign(culprit, [0])
        waiting = asyncio.create_task(suspects.assign(other, [0]))
        second = Death("small-1", [], 0.0, lambda: explained.append("second"))
        beside = Suspect()
        assert not suspects.accuse(beside, second)
        assert beside.is_suspected
        assert suspects.accuse(culprit, second)
        assert explained == ["first", "second"]
        assert not beside.is_suspected
        assert not other.is_suspected
        # They run again at once and together.
        assert await waiting == Assignment(0)
        assert await suspects.assign(beside, [0]) == Assignment(0)

    runs(main())


def test_a_death_on_another_worker_names_nobody() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        (prompt,) = suspected(suspects, died(), 1)
        await suspects.assign(prompt, [0])
        assert not suspects.accuse(prompt, died("small-7"))

    runs(main())


def test_a_death_that_is_explained_accuses_nobody() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        death = died()
        death.explain()
        prompt = Suspect()
        assert not suspects.accuse(prompt, death)
        assert not prompt.is_suspected

    runs(main())


def test_nobody_is_placed_until_all_attempts_of_the_death_are_heard() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        death = Death("small-0", [], 0.0, unheard={"likeliest"})
        late = Suspect(rank=1)
        suspects.accuse(late, death)
        waiting = asyncio.create_task(suspects.assign(late, [0]))
        await asyncio.sleep(0.1)
        likeliest = Suspect(rank=0)
        suspects.accuse(likeliest, death)
        death.unheard.clear()
        assert await suspects.assign(likeliest, [0]) == Assignment(0, "small-1")
        assert not waiting.done()
        waiting.cancel()

    runs(main())


def test_an_attempt_that_is_never_heard_holds_nobody_up_for_long() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        death = Death("small-0", [], 0.0, unheard={"gone"})
        prompt = Suspect()
        suspects.accuse(prompt, death)
        assert await suspects.assign(prompt, [0]) == Assignment(0, "small-1")
        assert asyncio.get_running_loop().time() == 1.0

    runs(main())


def test_a_suspect_that_waited_too_long_is_one_no_more() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        first, second = suspected(suspects, died(), 2)
        await suspects.assign(first, [0])
        assert await suspects.assign(second, [0]) == Assignment(0)
        assert asyncio.get_running_loop().time() == ISOLATION_S
        assert not second.is_suspected

    runs(main())


@pytest.mark.parametrize("count", [0, 1], ids=["innocent", "suspect"])
def test_who_waits_for_a_worker_takes_the_one_that_comes_back(count: int) -> None:
    async def main() -> None:
        workers = Workers([], [])
        prompt = (suspected(workers.suspects, died(), count) or [Suspect()])[0]
        waiting = asyncio.create_task(workers.suspects.assign(prompt, [0, 1]))
        await asyncio.sleep(2.0)
        workers.change(1, "large-1")
        choice = await waiting
        assert choice == Assignment(1, "large-1" if count else None)
        assert asyncio.get_running_loop().time() == 2.0

    runs(main())


def test_nobody_waits_for_ever() -> None:
    async def main() -> None:
        assert await Workers([]).suspects.assign(Suspect(), [0]) is None
        assert asyncio.get_running_loop().time() == RETURN_S

    runs(main())


def test_a_suspect_that_is_cancelled_leaves_its_worker_to_others() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        first, second = suspected(suspects, died(), 2)
        task = asyncio.create_task(suspects.assign(first, [0]))
        await asyncio.sleep(0)
        task.cancel()
        assert await suspects.assign(second, [0]) == Assignment(0, "small-1")

    runs(main())


def test_where_all_tiers_are_passed_over_a_suspect_still_runs_alone() -> None:
    async def main() -> None:
        suspects = Suspects(lambda _: [], lambda tier: f"passed-{tier}", Metrics(()))
        first, second = suspected(suspects, died(), 2)
        assert await suspects.assign(first, [0, 1]) == Assignment(0, "passed-0")
        assert await suspects.assign(second, [0, 1]) == Assignment(1, "passed-1")

    runs(main())


def test_a_named_body_is_refused_for_a_minute_and_no_other() -> None:
    async def main() -> None:
        suspects = Workers([]).suspects
        suspects.name(BODY)
        assert suspects.knows_bodies
        assert suspects.is_named(BODY)
        assert not suspects.is_named(b"another")
        assert suspects.counts == {"named": 1, "refused": 1}
        await asyncio.sleep(MEMORY_S + 0.1)
        assert not suspects.is_named(BODY)
        assert not suspects.knows_bodies

    runs(main())


def test_a_suspect_that_ended_unproven_is_one_when_it_comes_again() -> None:
    async def main() -> None:
        suspects = Workers(["small-1"]).suspects
        (prompt,) = suspected(suspects, died(), 1)
        suspects.mark(BODY, prompt)
        again = suspects.suspect_of(BODY)
        assert again.is_suspected
        await suspects.assign(again, [0])
        assert suspects.accuse(again, died("small-1"))
        assert not suspects.suspect_of(None).is_suspected
        assert not suspects.suspect_of(BODY).is_suspected

    runs(main())
