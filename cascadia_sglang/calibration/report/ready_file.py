"""A cascade file with a calibration's results in it, ready to be served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cascadia_sglang.config.cascade_file import drafts_data, read_cascade
from cascadia_sglang.config.paths import moved

NAME = "calibrated.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a calibration wrote, all of it in one folder.

    Attributes:
        calibrations: name of the file of each tier that has one, by the tier's name.
        draft_calibrations: the same of the second judges.
        drafts: values of `routing.drafts` that were fitted.
        entry_model, sample: names of the files, None where they were not written.
    """

    thresholds: Sequence[float]
    calibrations: Mapping[str, str]
    draft_calibrations: Mapping[str, str]
    drafts: Mapping[str, float]
    entry_model: str | None
    sample: str | None


def write_ready_file(cascade: Path, results: Results, folder: Path) -> Path:
    """Write the cascade file that was calibrated, with the results in place of its own.

    Everything else stays as it was; paths are relative to the new file.

    Args:
        cascade: the file that was calibrated; it has been read as one before.
        folder: that holds the results, and takes the new file.
    """
    data = ready_data(moved(read_cascade(cascade).data, folder), results)
    path = folder / NAME
    head = f"# {cascade.name}, calibrated: made by `cascadia calibrate`, which overwrites it.\n"
    path.write_text(head + yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def ready_data(data: Mapping[str, Any], results: Results) -> dict[str, Any]:
    """The data of a cascade file with the results in it.

    Args:
        data: with paths from the folder of the results.
    """
    made = dict(data)
    made["tiers"] = [_tier(tier, results) for tier in data["tiers"]]
    routing = dict(data.get("routing") or {})
    # Thresholds stand in place of a rate.
    routing.pop("escalation_rate", None)
    routing["thresholds"] = [float(threshold) for threshold in results.thresholds]
    if results.drafts:
        given = drafts_data(routing)
        given.pop("second_judge", None)
        routing.pop("verify", None)
        routing["drafts"] = given | dict(results.drafts)
    is_entry_used = routing.get("entry_model") or routing.get("entry") in ("predicted", "priced")
    if results.entry_model is not None and is_entry_used:
        routing["entry_model"] = results.entry_model
    made["routing"] = routing
    if results.sample is not None:
        made["planner"] = {**(data.get("planner") or {}), "sample": results.sample}
    if (data.get("judge") or {}).get("record"):
        made["judge"] = {**data["judge"], "record": False, "record_hidden": False}
    return made


def _tier(tier: Mapping[str, Any], results: Results) -> dict[str, Any]:
    made = {k: v for k, v in tier.items() if k not in ("calibration", "draft_calibration")}
    name = tier["name"]
    for key, files in (
        ("calibration", results.calibrations),
        ("draft_calibration", results.draft_calibrations),
    ):
        if name in files:
            made[key] = files[name]
    return made
