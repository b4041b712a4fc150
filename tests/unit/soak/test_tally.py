"""What pieces add up to, and when a soak has failed."""

from pathlib import Path

import pytest

from bench.soak.mix import Request
from bench.soak.quiet_answers import Difference
from bench.soak.sending import ANSWERED, BROKEN, HUNG, LEFT, POISON, REFUSED, End, judged
from bench.soak.tally import Tally, load, numbers, save

REQUEST = Request(route="/generate", kind="plain", mode="commit", headers={}, body={})
DIFFERENCE = Difference(
    route="/generate", kind="plain", prompt="p", tier="small", text="a", finish="ended"
)


def test_ends_are_counted_by_what_they_were() -> None:
    tally = Tally()
    for what in (ANSWERED, ANSWERED, REFUSED, LEFT):
        tally.note(End(request=REQUEST, what=what, status=503 if what == REFUSED else 0))
    assert tally.requests == 4
    assert tally.ends == {ANSWERED: 2, REFUSED: 1, LEFT: 1}
    assert tally.errors == {"503": 1}
    assert tally.modes == {"commit": 4}
    assert tally.faults_found() == []


@pytest.mark.parametrize("what", [BROKEN, HUNG])
def test_one_request_that_was_lost_fails_the_soak(what: str) -> None:
    tally = Tally()
    tally.note(End(request=REQUEST, what=what, why="no end"))
    assert tally.faults_found() == [f"{what}: 1"]
    assert tally.examples[0]["why"] == "no end"


def test_a_difference_fails_the_soak_unless_it_is_explained() -> None:
    tally = Tally()
    tally.differ(DIFFERENCE, is_explained=True)
    assert tally.faults_found() == []
    tally.differ(DIFFERENCE, is_explained=False)
    assert tally.faults_found() == ["answers that differ for no known reason: 1"]


def test_what_is_left_over_fails_the_soak() -> None:
    tally = Tally()
    tally.left["processes"] += 1
    tally.changes["broken"] += 2
    assert tally.faults_found() == [
        "left over: processes: 1",
        "changes without a clear answer: 2",
    ]


def test_a_tally_is_read_again_as_it_was_and_goes_on(tmp_path: Path) -> None:
    path, tally = tmp_path / "tally.json", Tally(pieces=1, seconds=2.5)
    assert load(path) == Tally()
    tally.note(End(request=REQUEST, what=ANSWERED, tier="small"))
    tally.grow({"server rss_mib": [1.0]})
    save(tally, path)
    again = load(path)
    assert again == tally
    again.grow({"server rss_mib": [2.0]})
    again.note(End(request=REQUEST, what=ANSWERED))
    assert again.growth == {"server rss_mib": [1.0, 2.0]}
    assert {name: value for name, _, value in numbers(again)}["requests"] == 2


def test_a_worker_that_a_request_ended_twice_is_counted_apart() -> None:
    content = b'{"error": {"message": "the request ended two workers"}}'
    end = judged(REQUEST, 500, None, content)
    tally = Tally()
    tally.note(end)
    assert tally.ends == {POISON: 1}
    assert judged(REQUEST, 500, None, b'{"error": {"message": "x"}}').what == BROKEN


def test_an_answer_to_what_must_be_refused_is_broken() -> None:
    request = Request(
        route="/generate",
        kind="malformed",
        mode=None,
        headers={},
        body={},
        errors=(400,),
        is_refused=True,
    )
    error = b'{"error": {"message": "x"}}'
    assert judged(request, 200, None, b"{}").what == BROKEN
    assert judged(request, 400, None, error).what == REFUSED
    assert judged(REQUEST, 400, None, error).what == BROKEN
