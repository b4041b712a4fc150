"""Reads a cascade file or the flags in its place, checked whole before anything starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cascadia_sglang.config.checks import problems_of, routing_problems, threshold_problems
from cascadia_sglang.config.paths import placed, warn_once
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.unknown_keys import with_nearest_key
from cascadia_sglang.files.yaml_text import DataFile, read_data
from cascadia_sglang.value_ranges import bound_problems


def load_cascade(path: Path | str) -> CascadeConfig:
    """Read and check a cascade file (YAML or JSON).

    Raises:
        ConfigError: one line that names the place and what is allowed.
    """
    path = Path(path)
    return _built(read_cascade(path), path)


def read_cascade(path: Path) -> DataFile:
    """What a cascade file holds, unchecked, its paths as seen from the working directory.

    Raises:
        ConfigError: if the file is missing or cannot be read.
    """
    file = read_data(path, "cascade file")
    routing = file.data.get("routing") if isinstance(file.data, dict) else None
    if isinstance(routing, dict) and isinstance(routing.get("verify"), dict):
        present = yaml.safe_dump(drafts_data(routing), default_flow_style=True, sort_keys=False)
        warn_once(
            f"cascade file {path}: routing.verify is the former name of routing.drafts; "
            f"write drafts: {present.strip()}"
        )
    return DataFile(placed(_without_dropped_keys(file.data, path), path), file.unquoted)


def _without_dropped_keys(data: Any, path: Path) -> Any:
    """The file without keys that never held anything but null; a warning names each."""

    def without(settings: Any, key: str, key_path: str) -> Any:
        if not isinstance(settings, dict) or settings.get(key, "") is not None:
            return settings
        warn_once(f"cascade file {path}: {key_path}.{key} does nothing; remove it")
        return {name: value for name, value in settings.items() if name != key}

    if not isinstance(data, dict):
        return data
    data = dict(data)
    if "routing" in data:
        data["routing"] = without(data["routing"], "quality_floor", "routing")
    if isinstance(data.get("tiers"), list):
        data["tiers"] = [
            without(tier, "reasoning", f"tiers[{index}]")
            for index, tier in enumerate(data["tiers"])
        ]
    return data


def drafts_data(routing: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of drafts in `routing`, unchecked, under their present names.

    Args:
        routing: of a cascade file, in which `drafts` may have its short form or its former name.
    """
    former, present = routing.get("verify"), routing.get("drafts")
    if isinstance(former, dict):
        names = {"enabled": "use", "high": "second_judge"}
        present = {names.get(key, key): value for key, value in former.items()}
    settings = dict(present) if isinstance(present, dict) else {"use": present}
    use = settings.get("use")
    if use is None or isinstance(use, bool):
        use = "on" if use else "off"
    return {**settings, "use": use}


def load_uncalibrated(path: Path, *, records_hidden: bool = False) -> CascadeConfig:
    """Read a cascade file to record answers with; it needs no calibration and no threshold yet.

    What it says of them is not looked at, nor what could keep a prompt from a tier.

    Args:
        records_hidden: whether hidden states are recorded too, of the tiers that may have a probe.

    Raises:
        ConfigError: as `load_cascade` does.
    """
    file = read_cascade(path)
    data = file.data
    if isinstance(data, dict) and isinstance(data.get("tiers"), list):
        nothing = {"calibration": None, "draft_calibration": None}
        tiers = [{**tier, **nothing} if isinstance(tier, dict) else tier for tier in data["tiers"]]
        judge, routing = data.get("judge") or {}, data.get("routing") or {}
        if isinstance(judge, dict) and isinstance(routing, dict):
            # Nothing has a score: every prompt that is not pinned goes all the way.
            recording = {"record": True, "record_hidden": records_hidden}
            judge = {**judge, **recording, "on_error": "escalate"}
            whole_way = {
                "thresholds": [0.0] * (len(tiers) - 1),
                "escalation_rate": None,
                "entry": "first",
                "entry_model": None,
                "commit_at_once": None,
                "max_attempts": 2 * max(1, len(tiers)),
                "deadline_s": None,
            }
            routing = {**routing, **whole_way}
            former = routing.get("verify")
            if former is None or (isinstance(former, dict) and routing.get("drafts") is None):
                # A draft is recorded whatever its score, and no second judge decides.
                use = drafts_data(routing)["use"]
                routing |= {"drafts": "off" if use == "off" else "on", "verify": None}
        data = {**data, "tiers": tiers, "judge": judge, "routing": routing}
    return _built(DataFile(data, file.unquoted), path)


def _built(file: DataFile, path: Path) -> CascadeConfig:
    try:
        return build_cascade(file.data, f"cascade file {path}")
    except ConfigError as error:
        meant = file.misread(error.__cause__)
        if meant is None:
            raise
        raise ConfigError(f"{error}; {meant}") from error.__cause__


def cascade_from_flags(
    tiers: str, thresholds: str | None, escalation_rate: str | None = None
) -> CascadeConfig:
    """Build a cascade from `--cascade-tiers small=PATH,large=PATH` and the flags beside it.

    A tier's calibration file is PATH/calibration.json where that exists; the last tier, whose score
    decides nothing, goes without.
    """
    built: list[dict[str, Any]] = []
    parts = tiers.split(",")
    for number, part in enumerate(parts, 1):
        name, equals, model_path = part.partition("=")
        if not equals or not model_path:
            raise ConfigError(f"--cascade-tiers: {part!r} is not NAME=PATH")
        beside = Path(model_path) / "calibration.json"
        calibration = str(beside) if number < len(parts) and beside.exists() else None
        built.append({"name": name, "model_path": model_path, "calibration": calibration})
    rates = _numbers("--cascade-escalation-rate", escalation_rate)
    routing = {
        "thresholds": _numbers("--cascade-thresholds", thresholds),
        "escalation_rate": (rates[0] if len(rates) == 1 else rates) if rates else None,
    }
    return build_cascade({"version": 1, "tiers": built, "routing": routing}, "--cascade-tiers")


def _numbers(flag: str, text: str | None) -> list[float]:
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise ConfigError(f"{flag}: {text!r} is not a list of numbers in [0, 1]") from error


def build_cascade(data: Any, source: str) -> CascadeConfig:
    """Convert and check plain data; `source` begins every error."""
    try:
        config = msgspec.convert(data, CascadeConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {with_nearest_key(error, CascadeConfig)}") from error
    for problem in problems_of(config):
        raise ConfigError(f"{source}: {problem}")
    return config


def with_thresholds(config: CascadeConfig, thresholds: list[float]) -> CascadeConfig:
    """The same cascade with other thresholds, in place of a rate.

    Raises:
        ConfigError: if there are too few or too many, or one is not in [0, 1].
    """
    routing = msgspec.structs.replace(config.routing, thresholds=thresholds, escalation_rate=None)
    changed = msgspec.structs.replace(config, routing=routing)
    ranges = bound_problems(changed.routing)
    for problem in (*threshold_problems(changed), *routing_problems(changed), *ranges):
        raise ConfigError(problem)
    return changed
