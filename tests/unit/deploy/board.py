"""The queries of the Grafana board, as Prometheus gets them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.repo.source import ROOT

BOARD = ROOT / "deploy/grafana/cascadia.json"
_VARIABLES = {
    "$__rate_interval": "20s",
    "$__interval": "15s",
    "$job": ".*",
    "$tier": ".*",
}


def load_board(path: Path = BOARD) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text())
    return board


def queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Panel and query, with Grafana's variables filled in."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], _filled(target["expr"])
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], _filled(annotation["expr"])


def _filled(query: str) -> str:
    for name, value in _VARIABLES.items():
        query = query.replace(name, value)
    return query


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """Every metric that a query names, with the labels that its selector uses."""
    for name, inner in re.findall(r"\b(cascadia_\w+)(?:\{([^}]*)\})?", query):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inner))
