"""Paths in a cascade file: relative to the folder of the file, as in a problem file.

Earlier releases took them as relative to the working directory. A path that exists there alone
still works, with a warning.
"""

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from cascadia_sglang.models.hub_check import is_hub_name

logger = logging.getLogger(__name__)

# Settings that name a file or a folder, by the part of the cascade file that they stand in.
_TOP = ("state",)
_TIER = ("model_path", "calibration", "draft_calibration")
_PARTS = {
    "routing": ("entry_model",),
    "planner": ("profile", "sample", "emulate", "log"),
}
# Flags of SGLang in a tier's `server_args` that name one.
_FLAGS = (
    "speculative_draft_model_path",
    "quantization_param_path",
    "tokenizer_path",
    "chat_template",
)
# Where a hub name may stand.
_MODELS = ("model_path", "speculative_draft_model_path", "tokenizer_path")
# What is written: it need not be there yet.
_WRITTEN = ("planner.log", "state")

Change = Callable[[str, str], str]


def placed(data: Any, path: Path) -> Any:
    """What a cascade file holds, its paths as seen from the working directory.

    What does not have the shape of a cascade is given back as it is, for later checks to refuse.

    Args:
        data: of the file, not modified.
        path: of the file.
    """
    folder, old = path.parent, []
    if folder.resolve() == Path.cwd():
        return data

    def from_here(key_path: str, written: str) -> str:
        if Path(written).is_absolute():
            return written
        beside, here = folder / written, Path(written)
        # Where neither is there yet, the folder of what is written may be.
        pairs = [(beside, here)]
        if key_path in _WRITTEN:
            pairs.append((beside.parent, here.parent))
        for first, second in pairs:
            if first.exists():
                return str(beside)
            if second.exists():
                old.append(f"{key_path} {written!r}")
                return written
        is_other = ".server_args." in key_path or (_is_model(key_path) and is_hub_name(written))
        return written if is_other else str(beside)

    changed = with_paths(data, from_here)
    if old:
        more = f" and {len(old) - 1} more" if len(old) > 1 else ""
        warn_once(
            f"cascade file {path}: {old[0]}{more}: found from the working directory, not from the "
            "file's folder; write paths relative to the file"
        )
    return changed


def moved(data: Any, folder: Path) -> Any:
    """The same for a file in another folder; absolute paths and hub names stay.

    Args:
        data: by `placed`.
        folder: that the new file will lie in.
    """

    def from_folder(key_path: str, path: str) -> str:
        # A hub name, or the name of a template that SGLang has.
        may_be_name = (_is_model(key_path) and is_hub_name(path)) or key_path.endswith(
            ".chat_template"
        )
        is_name = may_be_name and not Path(path).exists()
        if is_name or Path(path).is_absolute():
            return path
        return os.path.relpath(path, folder)

    return with_paths(data, from_folder)


def with_paths(data: Any, change: Change) -> Any:
    """The data of a cascade file with every path replaced.

    Args:
        change: gives the new path for a key path, as `tiers[0].model_path`, and its path.
    """
    if not isinstance(data, dict):
        return data
    changed = _replaced(data, _TOP, "", change)
    tiers = changed.get("tiers")
    if isinstance(tiers, list):
        changed["tiers"] = [_tier(tier, f"tiers[{i}]", change) for i, tier in enumerate(tiers)]
    for part, names in _PARTS.items():
        if isinstance(changed.get(part), dict):
            changed[part] = _replaced(changed[part], names, part, change)
    return changed


def _tier(tier: Any, key_path: str, change: Change) -> Any:
    if not isinstance(tier, dict):
        return tier
    changed = _replaced(tier, _TIER, key_path, change)
    flags = changed.get("server_args")
    if isinstance(flags, dict):
        changed["server_args"] = _replaced(flags, _FLAGS, f"{key_path}.server_args", change)
    return changed


def _replaced(
    data: dict[str, Any], names: tuple[str, ...], key_path: str, change: Change
) -> dict[str, Any]:
    changed = dict(data)
    for name in names:
        if isinstance(changed.get(name), str) and changed[name]:
            changed[name] = change(f"{key_path}.{name}".removeprefix("."), changed[name])
    return changed


def _is_model(key_path: str) -> bool:
    """Whether a hub name may stand there."""
    return key_path.rpartition(".")[2] in _MODELS


@cache
def warn_once(line: str) -> None:
    """Log a warning once in a process: a command may read a file twice."""
    logger.warning(line)
