"""Sampling parameters that a model's files give to requests that name none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascadia_sglang.files.json_text import read_json_object

# What SGLang takes from there (`ModelConfig.get_default_sampling_params`).
_TAKEN = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")


def sampling_defaults(folder: Path) -> dict[str, Any]:
    """Defaults by name, of those that SGLang takes."""
    path = folder / "generation_config.json"
    data = read_json_object(path) if path.is_file() else {}
    return {name: data[name] for name in _TAKEN if data.get(name) is not None}


def differing_defaults(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """The defaults in which two models differ, in words; None where they do not."""
    differences = [
        f"{name} is {first.get(name, 'absent')} and {second.get(name, 'absent')}"
        for name in _TAKEN
        if first.get(name) != second.get(name)
    ]
    return ", ".join(differences) or None
