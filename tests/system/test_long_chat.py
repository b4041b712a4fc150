"""A chat of 100,000 tokens that climbs to another voice, and what it holds the event loop for.

Plain SGLang holds the loop too, while it reads and checks such a request. So a cascade is compared
with plain SGLang, and a chat with the same prompt in token ids.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
import yaml
from tokenizers import Tokenizer

from tests.system.serving import CASCADE, PLATFORM_ALONE, ROOT, start
from tests.system.twins import byte_model
from tests.system.watched_server import stretches

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.long,
    pytest.mark.timeout(900),
]

CONTEXT, TOKENS = 131_072, 100_000
REPEATS = 3
ADDED_S = 0.005
WATCHED = (sys.executable, "-m", "tests.system.watched_server")
SMALL = ROOT / "demo/models/small"
FLAGS = {
    "max_total_tokens": 2 * CONTEXT,
    "max_running_requests": 4,
    # On a CPU, each part of a prompt takes as long as all of it.
    "chunked_prefill_size": -1,
    "load_format": "dummy",
}
CLIMBS = {"x-cascadia-threshold": "1"}
# Of which the tokenizers learn, and of whose words the chat is made.
TEXTS = ("add the numbers and reverse the letters again", "sort some words by what they mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Medians over the repeats of one request.

    Attributes:
        longest_s: the longest stretch.
        sum_s: of all stretches.
    """

    longest_s: float
    sum_s: float

    def __str__(self) -> str:
        return f"longest {1e3 * self.longest_s:.1f} ms, in sum {1e3 * self.sum_s:.1f} ms"


def long_model(folder: Path, text: str) -> Path:
    """A model of one layer with made-up weights, whose tokenizer learned from a text."""
    byte_model(SMALL, folder, text)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {
        "num_hidden_layers": 1,
        "hidden_size": 32,
        "head_dim": 16,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
        "max_position_embeddings": CONTEXT,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@contextlib.contextmanager
def watched(folder: Path, *arguments: str, **environment: str) -> Iterator[Any]:
    """A server, and the file of its loop's stretches."""
    path = folder / "stretches"
    server = start(
        folder,
        *arguments,
        command=WATCHED,
        environment={"LOOP_STRETCHES": str(path), **environment},
    )
    try:
        server.wait_until_ready()
        with server.client(timeout=300) as client:
            yield client, path
    finally:
        server.stop()


def held(path: Path, ask: Callable[[Any], None], prompt: str | list[int]) -> Held:
    """Ask with the begin of a prompt, then with all of it, again and again; what held the loop."""
    ask(prompt[:1000])
    longest, sums = [], []
    for _ in range(REPEATS):
        time.sleep(0.2)
        begin_s = time.monotonic()
        ask(prompt)
        found = [stretch.held_s for stretch in stretches(path, begin_s, time.monotonic())]
        longest.append(max(found, default=0.0))
        sums.append(sum(found))
    return Held(longest_s=median(longest), sum_s=median(sums))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [long_model(folder / f"model-{n}", text) for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def content(models: list[Path]) -> str:
    """A text of about so many tokens of the first model."""
    words = " ".join(TEXTS).split()
    rng = random.Random(0)
    tokenizer = Tokenizer.from_file(str(models[0] / "tokenizer.json"))
    sample = " ".join(rng.choices(words, k=2000))
    count = int(2000 * TOKENS / len(tokenizer.encode(sample).ids))
    return " ".join(rng.choices(words, k=count))


def chat(client: httpx.Client, content: str, model: str, **headers: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    body |= {"max_tokens": 2, "temperature": 0}
    response = client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text[:500]
    if len(content) > TOKENS:
        assert response.json()["usage"]["prompt_tokens"] > 0.8 * TOKENS
    return response


@pytest.fixture(scope="module")
def plain_held(models: list[Path], content: str, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """What the chat holds the loop of plain SGLang for."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in FLAGS.items()]
    with watched(
        tmp_path_factory.mktemp("plain"),
        *("--model-path", str(models[0])),
        *flags,
        **PLATFORM_ALONE,
    ) as (client, path):

        def ask(text: str) -> None:
            chat(client, text, str(models[0]))

        return held(path, ask, content)


def test_a_chat_that_climbs_holds_the_loop_for_no_more_than_5_ms_at_a_stretch(
    models: list[Path],
    content: str,
    plain_held: Held,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    cascade = {
        "version": 1,
        "tiers": [
            {"name": name, "model_path": str(model), "server_args": FLAGS}
            for name, model in zip(("small", "large"), models, strict=True)
        ],
        "routing": {"thresholds": [0.5]},
    }
    cascade["tiers"][0]["calibration"] = str(SMALL / "calibration.json")
    config = tmp_path / "cascade.yaml"
    config.write_text(yaml.safe_dump(cascade))
    with watched(tmp_path, *CASCADE[:-1], str(config)) as (client, path):
        named = {"model": "small", "messages": [{"role": "user", "content": content}]}
        ids = client.post("/tokenize", json=named).json()["tokens"]

        def climb(text: str) -> None:
            response = chat(client, text, "cascadia", **CLIMBS)
            assert response.headers["x-cascadia-tier"] == "large"

        def ask_by_ids(token_ids: list[int]) -> None:
            body = {
                "input_ids": token_ids,
                "sampling_params": {"max_new_tokens": 2, "temperature": 0},
            }
            response = client.post("/generate", json=body)
            assert response.status_code == 200, response.text[:500]

        climbing, by_ids = held(path, climb, content), held(path, ask_by_ids, ids)
    for name, value in (("plain", plain_held), ("climbing", climbing), ("ids", by_ids)):
        record_property(name, str(value))
        print(f"{name}: {value}")
    assert climbing.longest_s <= plain_held.longest_s + ADDED_S
    assert climbing.sum_s <= by_ids.sum_s
