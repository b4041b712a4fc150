"""SGLang's own load tool, with a stream's signs of life and without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.serving import ROOT, Server

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

REQUESTS = 4
# Long enough for a silence of KEEP_ALIVE_S while the answer is held.
OUTPUT_TOKENS = 400
KEEP_ALIVE_S = 0.1


def load(
    server: Server, backend: str, keep_alive_s: float, rows: Path
) -> subprocess.CompletedProcess:
    """Send requests that climb, buffered, with the tool's own client."""
    command = [sys.executable, "-m", "sglang.benchmark.serving", "--backend", backend]
    command += ["--base-url", server.url, "--model", "cascadia"]
    command += ["--tokenizer", "demo/models/small", "--dataset-name", "random-ids"]
    command += ["--num-prompts", str(REQUESTS), "--max-concurrency", "4"]
    command += ["--random-input-len", "24", "--random-output-len", str(OUTPUT_TOKENS)]
    command += ["--random-range-ratio", "1", "--disable-tqdm", "--output-file", str(rows)]
    command += ["--header", "x-cascadia-threshold=1", "x-cascadia-stream=buffered"]
    command += [f"x-cascadia-keep-alive={keep_alive_s}"]
    return subprocess.run(
        command,
        cwd=ROOT,
        # Otherwise the tool asks a model hub again and again for a file that the tokenizer lacks.
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("backend", ["sglang-oai-chat", "sglang-oai"])
def test_without_signs_of_life_every_request_counts(
    default_cascade: Server, backend: str, tmp_path: Path
) -> None:
    ended = load(default_cascade, backend, 0, tmp_path / "rows.jsonl")
    assert ended.returncode == 0, ended.stderr[-2000:]
    (row,) = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert row["completed"] == REQUESTS
    assert row["total_output_tokens"] == REQUESTS * OUTPUT_TOKENS


def test_the_tool_fails_at_a_comment_as_the_readme_says(
    default_cascade: Server, tmp_path: Path
) -> None:
    ended = load(default_cascade, "sglang-oai-chat", KEEP_ALIVE_S, tmp_path / "rows.jsonl")
    assert ended.returncode != 0
    assert "JSONDecodeError" in ended.stderr
