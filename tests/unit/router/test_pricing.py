"""A prompt begins where its answer is expected first."""

import pytest

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.entry_rules import CheapestTier
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, make_cascade, make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.router.asking import GOOD, WEAK

PRICED: CascadeConfig = make_cascade("small", "large", entry="priced")


def ask(seconds: list[float], *, accepted: float = 0.5, **controls) -> tuple[list[int], str]:
    """The tiers that a prompt visits at these seconds an attempt, and where it says it began."""
    engine = FakeEngine(GOOD, GOOD)
    engine.tier_seconds = seconds
    router = make_router(PRICED, engine)
    rule = router.services.entry
    assert isinstance(rule, CheapestTier)
    for number in range(400):
        rule.accepted[0].add((number % 100) < 100 * accepted)

    async def main() -> str:
        items = router.answer(make_request(), None, Controls(**controls), ResponseSummary())
        async for item in items:
            entry: str = item["meta_info"]["cascadia"]["entry"]
            return entry
        raise AssertionError

    entry_tier = run_in_virtual_time(main())
    return engine.visits, entry_tier


@pytest.mark.parametrize(
    ("seconds", "accepted", "entry"),
    [
        ([1.0, 4.0], 0.5, "small"),  # 1 + 4 / 2 against 4
        ([1.0, 4.0], 0.1, "large"),  # 1 + 3.6
        ([3.0, 4.0], 0.5, "large"),  # 3 + 2
        ([], 0.5, "small"),  # not known yet
    ],
)
def test_the_cheaper_entry_is_taken(seconds, accepted, entry) -> None:
    visits, chosen = ask(seconds, accepted=accepted)
    assert chosen == entry
    assert visits == [("small", "large").index(entry)]


def test_a_client_that_names_a_tier_is_not_priced() -> None:
    assert ask([9.0, 0.1], tier=0)[0] == [0]
    assert ask([9.0, 0.1], max_tier=0)[0] == [0]


def test_what_is_accepted_is_learned() -> None:
    engine = FakeEngine(WEAK, GOOD)
    router = make_router(PRICED, engine)
    rule = router.services.entry
    assert isinstance(rule, CheapestTier)

    async def main() -> None:
        for _ in range(50):
            async for _ in router.answer(make_request(), None, Controls(), ResponseSummary()):
                pass

    run_in_virtual_time(main())
    assert rule.accepted[0].value < 0.1
