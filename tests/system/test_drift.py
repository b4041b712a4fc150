"""The features of real answers on their way from a worker to the status."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cascadia_sglang.judge.watch.features import LEAST_ANSWERS
from tests.system.serving import Server

pytestmark = pytest.mark.sglang

AT_ONCE = 32


def test_answers_unlike_the_calibrations_raise_the_alarm(demo: Server) -> None:
    with demo.client() as client, ThreadPoolExecutor(AT_ONCE) as pool:

        def ask(number: int) -> int:
            body = {"text": f"add {number} 7", "sampling_params": {"temperature": 0}}
            return client.post("/generate", json=body).status_code

        assert set(pool.map(ask, range(LEAST_ANSWERS + AT_ONCE))) == {200}
        small, large = client.get("/cascadia/status").json()["tiers"]
    features = small["drift"]["features"]
    # Some answers may have ended early, and those have no score.
    assert features["answers"] >= LEAST_ANSWERS
    assert features["distance"] > features["limit"] == 40.0
    assert features["alarm"]
    assert small["drift"]["alarm"]
    assert large["drift"] is None
