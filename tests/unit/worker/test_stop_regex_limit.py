"""The limit in time on the search for a client's pattern."""

import re
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.worker import stop_regex_limit as search_limit
from cascadia_sglang.worker.stop_regex_limit import SearchLimit

TEXT = "a" * 40


def search(pattern: str) -> bool:
    return re.search(pattern, TEXT) is not None


@pytest.mark.parametrize(("pattern", "is_match"), [("a+", True), ("b", False)])
def test_a_usual_search_answers(pattern: str, is_match: bool) -> None:
    request = SimpleNamespace()
    limit = SearchLimit()
    for _ in range(100):
        assert limit.run(request, lambda: search(pattern)) is is_match
    assert not vars(request)  # none of them was slow


def test_a_search_that_would_take_hours_is_ended() -> None:
    began = time.process_time()
    assert SearchLimit().run(SimpleNamespace(), lambda: search("(a+)+b")) is None
    assert time.process_time() - began < 1.0


def test_the_next_request_is_searched_as_ever() -> None:
    limit = SearchLimit()
    limit.run(SimpleNamespace(), lambda: search("(a+)+b"))
    assert limit.run(SimpleNamespace(), lambda: search("a+")) is True
    assert not re.search("(a|b)+c", TEXT[:20])  # the timer is off outside of it


def burn(seconds: float) -> bool:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return False


def test_searches_that_are_slow_one_by_one_add_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(search_limit, "ALL_SLOW_SEARCHES_S", 0.05)
    limit, request = SearchLimit(), SimpleNamespace()
    results = [limit.run(request, lambda: burn(0.02)) for _ in range(5)]
    assert results[0] is False
    assert results[-1] is None


def test_an_error_of_the_search_passes_and_stops_the_timer() -> None:
    def fail() -> bool:
        raise re.error("no pattern")

    limit = SearchLimit()
    with pytest.raises(re.error):
        limit.run(SimpleNamespace(), fail)
    burn(0.15)
