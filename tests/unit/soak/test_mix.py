"""What the soak sends: all routes, kinds and modes, in the shares that it promises."""

from collections import Counter

import pytest

from bench.soak.bodies import PLAIN
from bench.soak.mix import KINDS, MODES, ROUTES, Mix, Request
from cascadia_sglang.http.routes import TABLE, Handling

DRAWN = 20_000


@pytest.fixture(scope="module")
def drawn() -> list[Request]:
    mix = Mix(["rev abc", "sort cab"], 1)
    return [mix.draw() for _ in range(DRAWN)]


def test_it_knows_every_route_that_the_cascade_answers() -> None:
    (paths,) = [routes.paths for routes in TABLE if routes.handling is Handling.CASCADE]
    assert ROUTES.keys() == PLAIN.keys() == {*paths}


def test_no_route_is_rarer_than_2_percent_and_two_in_five_stream(drawn: list[Request]) -> None:
    routes = Counter(request.route for request in drawn)
    assert routes.keys() == ROUTES.keys()
    assert min(routes.values()) > 0.02 * DRAWN
    modes = Counter(request.mode for request in drawn)
    assert DRAWN - modes[None] > 0.4 * DRAWN
    assert min(modes[mode] for mode in MODES) > 0.1 * DRAWN


def test_every_kind_comes(drawn: list[Request]) -> None:
    kinds = Counter(request.kind for request in drawn)
    assert kinds.keys() == KINDS.keys()
    assert min(kinds.values()) > 0.01 * DRAWN


def test_the_same_seed_draws_the_same(drawn: list[Request]) -> None:
    again = Mix(["rev abc", "sort cab"], 1)
    assert [again.draw() for _ in range(100)] == drawn[:100]


def test_what_is_known_of_an_answer_fits_its_request(drawn: list[Request]) -> None:
    for request in drawn:
        assert request.prompts == () or len(request.prompts) == request.choices
        assert request.is_refused == (request.kind == "malformed")
        assert bool(request.texts) == (request.kind in ("tools", "grammar"))
        assert request.mode is None or request.body["stream"] is True
        assert request.payload
