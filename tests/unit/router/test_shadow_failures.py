"""What goes wrong with a shadow costs no request."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config import PlannerConfig
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.testing import FakeEngine, Reply, make_cascade
from tests.unit.router.asking import ask

SHADOWED = msgspec.structs.replace(
    make_cascade("small", "large"), planner=PlannerConfig(shadow_rate=1.0)
)


def broken(*_: Any) -> Any:
    raise KeyError("tokens")


def as_it_arrives(router: CascadeRouter) -> None:
    router.shadow.is_idle = broken


def once_it_is_answered(router: CascadeRouter) -> None:
    router.shadow.is_idle = lambda: False
    router.shadow.metrics = SimpleNamespace(shadowed=broken)  # type: ignore[assignment]


@pytest.mark.parametrize("breaks", [as_it_arrives, once_it_is_answered])
def test_the_request_is_answered_and_the_failure_is_logged_once(
    breaks: Callable[[CascadeRouter], None], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(FakeEngine(Reply(score=0.9), Reply()), SHADOWED, prepare=breaks)
    assert answer.error is None
    assert answer.text == "question by tier 0"
    assert [record.message for record in caplog.records] == [
        "an answer is not compared with the last tier's: KeyError('tokens')"
    ]
