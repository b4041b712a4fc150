"""Servers with both parsers on, and the official clients that tour them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import anthropic
import httpx
import openai
import pytest
import yaml

from cascadia_sglang.judge.calibration import MIN_CONSTRAINED_SAMPLES
from tests.system.client_tour.ways import STREAMS, Way
from tests.system.serving import CASCADE, ROOT, Server, start

PARSERS = ("--tool-call-parser", "qwen", "--reasoning-parser", "qwen3")
INCREMENTAL = "--incremental-streaming-output"


# Flags of each server of the tour. Where only one of the two stream flags is set, `test_tool_calls`
# covers the routes of OpenAI and Anthropic, and `stream_interval` in `test_native` covers our own.
FLAGS: dict[str, tuple[str, ...]] = {
    "as-it-is": (),
    "incremental-by-four": (INCREMENTAL, "--stream-interval", "4"),
}


@dataclass(frozen=True)
class TouredServer:
    """A server under tour.

    Attributes:
        is_incremental: whether an output of the native route continues the one before.
    """

    server: Server
    is_incremental: bool


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=[] if name == "as-it-is" else [pytest.mark.slow]) for name in FLAGS
    ],
)
def toured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TouredServer]:
    """Two tiers: one whose judge rates answers under a grammar too, and one that reads drafts."""
    flags = FLAGS[request.param]
    folder = tmp_path_factory.mktemp("tour")
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    small = cascade["tiers"][0]
    calibration = json.loads((ROOT / small["calibration"]).read_text())
    calibration["constrained_samples"] = MIN_CONSTRAINED_SAMPLES
    (folder / "small.json").write_text(json.dumps(calibration))
    small["calibration"] = str(folder / "small.json")
    cascade["routing"] |= {"drafts": "on"}
    # A thought is rated too: without a score an answer would climb whatever the threshold.
    cascade["judge"] = {"scope": "all"}
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    server = start(folder, *CASCADE[:-1], str(path), *PARSERS, *flags)
    try:
        server.wait_until_ready()
        yield TouredServer(server, INCREMENTAL in flags)
    finally:
        server.stop()


@pytest.fixture(params=STREAMS)
def way(request: pytest.FixtureRequest) -> Way:
    return STREAMS[request.param]


@pytest.fixture(params=["small", "large"])
def tier(request: pytest.FixtureRequest) -> str:
    """That gives an unstreamed answer."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def openai_client(toured: TouredServer) -> Iterator[openai.OpenAI]:
    url = f"{toured.server.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def anthropic_client(toured: TouredServer) -> Iterator[anthropic.Anthropic]:
    url = toured.server.url
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def http(toured: TouredServer) -> Iterator[httpx.Client]:
    with toured.server.client() as client:
        yield client
