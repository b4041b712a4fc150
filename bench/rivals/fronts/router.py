"""A router alone: it picks a tier by the prompt, before anything is generated; that one answers.

It takes the smallest tier whose chance to be right is high enough. `bench.rivals.fronts.ngrams` and
`bench.rivals.fronts.encoder` know such chances.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastapi
import numpy as np
import numpy.typing as npt

from bench.rivals.fronts.front import Tier, build_app, post, serve, settings, stream

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Chance that each tier but the last, [H], answers a prompt right.
Chances = Callable[[str], FloatArray]
# Learns from N prompts and whether those tiers answer them right, [H, N]; writes a file.
Fit = Callable[[Sequence[str], BoolArray, Path], None]
Load = Callable[[Path], Chances]


def router_settings(about: str | None) -> argparse.ArgumentParser:
    """The options that every router has."""
    parser = settings(about)
    parser.add_argument("--model", type=Path, required=True, help="what a fit has written")
    return parser


def serve_by(chances: Chances, tiers: Sequence[Tier], port: int) -> None:
    """Until the process is ended."""

    async def route(request: fastapi.Request, tiers: Sequence[Tier]) -> Any:
        body = await request.json()
        chances_H = [*chances(body["text"]).tolist(), 1.0]
        url = next(
            url for (url, least), chance in zip(tiers, chances_H, strict=True) if chance >= least
        )
        if body.get("stream"):
            return stream(request, url, body)
        return await post(request, url, body)

    serve(build_app(route, tiers), port)
