"""The same proxy, whose tiers are behind LiteLLM's: one address and one key for all models.

LiteLLM (https://github.com/BerriAI/litellm) runs in an environment of its own and speaks OpenAI's
protocol to both sides.

Example:
    python -m bench.rivals.fronts.gateway --port 31000 \
        --litellm .venv/.litellm-1.108.7/bin/litellm --tier http://127.0.0.1:31001=-0.02 \
        --tier http://127.0.0.1:31002=-inf
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import fastapi

from bench.rivals.fronts.front import build_app, serve, settings
from bench.rivals.fronts.proxy import climb
from cascadia_sglang.processes.child_server import free_port

START_S = 120.0
STOP_S = 20.0
# Else it asks the network for the prices of models.
ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}


def name_of(tier: int) -> str:
    """What LiteLLM calls a tier."""
    return f"tier-{tier}"


@contextmanager
def litellm(command: Path, urls: Sequence[str], key: str) -> Iterator[str]:
    """LiteLLM before these servers, for who has the key; yields its address, once it answers.

    Raises:
        RuntimeError: if it ends, or does not answer in time.
    """
    models = [
        {
            "model_name": name_of(tier),
            "litellm_params": {
                "model": f"text-completion-openai/{name_of(tier)}",
                "api_base": f"{url}/v1",
                "api_key": "none",
            },
        }
        for tier, url in enumerate(urls)
    ]
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(json.dumps({"model_list": models}))
        flags = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [str(command), *flags, "--telemetry", "False"],
            env={**os.environ, **ENVIRONMENT, "LITELLM_MASTER_KEY": key},
        )
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Until it answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"LiteLLM ended with {process.returncode}")
        try:
            urllib.request.urlopen(f"{url}/health/liveliness", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"LiteLLM did not answer within {START_S:.0f} s")


async def complete(
    request: fastapi.Request, tier: str, body: Mapping[str, Any], *, gateway: str, key: str
) -> dict[str, Any]:
    """A tier's answer through the gateway, as a native one."""
    sampling = body["sampling_params"]
    completion = {
        "model": tier,
        "prompt": body["text"],
        "temperature": sampling["temperature"],
        "max_tokens": sampling["max_new_tokens"],
        **({"logprobs": 0} if body.get("return_logprob") else {}),
    }
    session: aiohttp.ClientSession = request.app.state.session
    headers = {"authorization": f"Bearer {key}"}
    async with session.post(
        f"{gateway}/v1/completions", json=completion, headers=headers
    ) as response:
        answer = await response.json()
    choice = answer["choices"][0]
    meta: dict[str, Any] = {"completion_tokens": answer["usage"]["completion_tokens"]}
    if "logprobs" in completion:
        meta["output_token_logprobs"] = [
            [logprob] for logprob in choice["logprobs"]["token_logprobs"]
        ]
    return {"text": choice["text"], "meta_info": meta}


def main() -> None:
    """Serve."""
    parser = settings(__doc__)
    parser.add_argument("--litellm", type=Path, required=True, help="its command")
    options = parser.parse_args()
    tiers = [(name_of(tier), least) for tier, (_, least) in enumerate(options.tier)]
    key = f"sk-{secrets.token_hex(32)}"
    with litellm(options.litellm, [url for url, _ in options.tier], key) as gateway:
        ask = partial(complete, gateway=gateway, key=key)
        serve(build_app(partial(climb, ask=ask), tiers), options.port)


if __name__ == "__main__":
    main()
