"""What goes wrong with a shadow costs no request."""

from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.settings import PlannerConfig
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_cascade, make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time

SHADOWED = msgspec.structs.replace(
    make_cascade("small", "large"), planner=PlannerConfig(shadow_rate=1.0)
)


def broken(*_: Any) -> Any:
    raise KeyError("tokens")


class BrokenMetrics(Metrics):
    """Cannot count shadow runs."""

    def shadowed(self, tier_index: int, outcome: str) -> None:
        broken(tier_index, outcome)


@pytest.mark.parametrize(
    ("services", "logged"),
    [
        ({"is_last_tier_idle": broken}, "an answer is not compared with the last tier's, "),
        (
            {"is_last_tier_idle": lambda: False, "metrics": BrokenMetrics(["small", "large"])},
            "an observer of the requests failed: ",
        ),
    ],
    ids=["as-it-arrives", "once-it-is-answered"],
)
def test_the_requests_are_answered_and_the_failure_is_logged(
    services: dict[str, Any], logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> list[Any]:
        router = make_router(SHADOWED, FakeEngine(Reply(score=0.9), Reply()), **services)
        items: list[Any] = []
        for number in range(11):
            request = make_request(rid=f"caller-{number}")
            given = router.answer(request, None, Controls(), ResponseSummary())
            items += [item async for item in given]
        return items

    items = run_in_virtual_time(main())
    assert [item["text"] for item in items] == ["question by tier 0"] * 11
    assert len(caplog.records) == 2
    for record, number in zip(caplog.records, (1, 10), strict=True):
        assert record.message.startswith(logged)
        assert record.message.endswith(f"failure {number}")
        assert record.exc_info is not None
        assert repr(record.exc_info[1]) == "KeyError('tokens')"
