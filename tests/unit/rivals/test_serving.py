"""SGLang's load generator, as it is, takes our flags and says what we read."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.rivals.serving import FIGURES, served
from bench.rivals.systems import plain_servers
from demo.tasks.splits import sample
from tests.unit.rivals.fake import JsonHandler, running

# It starts the load generator, whose imports take long.
pytestmark = pytest.mark.slow

WAIT_S = 0.2


class Native(JsonHandler):
    """Answers whole after `WAIT_S`; not the request of the number `broken`."""

    requests = 0
    broken: int | None = None

    def answer(self, body: Any) -> None:
        assert body["sampling_params"]["ignore_eos"] is False
        Native.requests += 1
        status = 500 if Native.requests == Native.broken else 200
        time.sleep(WAIT_S)
        meta = {"completion_tokens": 3, "prompt_tokens": 5}
        self.reply({"text": "12", "meta_info": meta}, status)


@pytest.fixture
def port() -> Iterator[int]:
    Native.requests, Native.broken = 0, None
    with running(Native) as free_port:
        yield free_port


def test_its_figures_are_those_of_a_server_that_takes_a_known_time(
    tmp_path: Path, port: int
) -> None:
    _, (_, model, *_) = plain_servers()["small"]
    figures = served(tmp_path, port, model, sample("test", 1, 8), 50.0, 1)
    assert set(figures) == set(FIGURES)
    assert 1000 * WAIT_S <= figures["median_e2e_latency_ms"] < 20_000 * WAIT_S
    assert figures["median_ttft_ms"] == pytest.approx(figures["median_e2e_latency_ms"], rel=0.1)


def test_a_request_that_fails_is_told(tmp_path: Path, port: int) -> None:
    _, (_, model, *_) = plain_servers()["small"]
    Native.broken = 2  # the first is a warm-up
    with pytest.raises(RuntimeError, match=f"port {port} answered 1 of 2 requests"):
        served(tmp_path, port, model, sample("test", 1, 2), 50.0, 1)
