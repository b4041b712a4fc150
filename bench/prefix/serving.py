"""Cascades with prefix caches, and what their workers have computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.harness.admin import KEY, ask
from bench.harness.server import running_server

# Blocks of so many tokens: SGLang's own size on a CPU is one, of which no events are sent.
PAGE_TOKENS = 16


@contextmanager
def serving(folder: Path, port: int, config: Mapping[str, Any]) -> Iterator[int]:
    """Serve a cascade of these settings; yields the port."""
    path = folder / f"cascade-{port}.yaml"
    path.write_text(yaml.safe_dump({"version": 1, **config}))
    flags = ("--plugin", "cascadia", "--cascade-config", str(path), "--admin-api-key", KEY)
    quiet = ("--log-level", "warning")
    with running_server((*flags, *quiet), port=port, log=folder / f"server-{port}.log") as ready:
        yield ready


def tier(name: str, replicas: int = 1, page_tokens: int = PAGE_TOKENS, **args: Any) -> dict:
    """A tier of the demo; without a calibration where it is the last one here."""
    return {
        "name": name,
        "model_path": f"demo/models/{name}",
        "calibration": f"demo/models/{name}/calibration.json" if name == "small" else None,
        "replicas": replicas,
        "server_args": {"page_size": page_tokens, "max_total_tokens": 65536, **args},
    }


def prefilled_tokens(port: int) -> int:
    """Prompt tokens that the workers have computed since they started, warming included."""
    loads = ask(port, "GET", "/v1/loads?include=core")["loads"]
    return sum(load["total_prefill_uncached_tokens"] for load in loads)
