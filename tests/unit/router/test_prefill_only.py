"""A request of which nothing is generated stays on the first tier that its prompt fits."""

import pytest

from cascadia_sglang.router.route import find_route
from cascadia_sglang.testing.engine import FakeEngine, FakeLimits, Reply, make_cascade, make_request
from cascadia_sglang.testing.services import make_prompt, make_services

CASCADE = make_cascade("small", "middle", "large")
REPLY = Reply(score=0.5)


async def tiers_of(max_new_tokens: int | None, *, fits_small: bool = True) -> list[int]:
    limits = [FakeLimits() if fits_small else FakeLimits(input_tokens=5)] + [FakeLimits()] * 2
    engine = FakeEngine(REPLY, REPLY, REPLY, limits=limits)
    # As the engine says of such a sample: there is nothing to judge.
    request = make_request(max_new_tokens=max_new_tokens, judgeable=max_new_tokens != 0)
    services = make_services(CASCADE, engine)
    return (await find_route(make_prompt(request, CASCADE), services)).tiers


@pytest.mark.parametrize("fits_small", [True, False])
async def test_no_tier_writes_a_better_empty_answer(fits_small: bool) -> None:
    assert await tiers_of(0, fits_small=fits_small) == [0 if fits_small else 1]


async def test_one_token_climbs_as_ever() -> None:
    assert await tiers_of(1) == [0, 1, 2]
