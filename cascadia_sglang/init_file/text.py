"""The text of a cascade file, with comments."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cascadia_sglang.init_file.models import Model

ESCALATION_RATE = 0.3
# Plain scalars that every YAML reader takes for a text.
_PLAIN = re.compile(r"[A-Za-z./][A-Za-z0-9._/-]*")
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def cascade_text(
    models: Sequence[Model],
    ranks: Mapping[str, int],
    parsers: Mapping[str, str],
    table: Sequence[str],
) -> str:
    """A cascade file in YAML.

    Args:
        models: smallest first.
        ranks: devices of a worker, by the model's name.
        parsers: SGLang's flags that every tier has.
        table: of the tiers' memory, for the comments; empty before it is known.
    """
    lines = [
        "# A cascade: a request begins at the first tier, and climbs where its answer is not sure.",
        "# `cascadia validate` checks this file; `cascadia schema cascade` lists every key.",
        *(f"#   {line}" for line in table),
        "version: 1",
        "tiers:  # smallest first",
    ]
    for model in models:
        lines += _tier(model, ranks[model.name], parsers)
    lines += [
        "routing:",
        "  # Share of all requests that reach the last tier. The answers of a tier without a",
        "  # calibration are ranked, and the least sure of them climb.",
        f"  escalation_rate: {ESCALATION_RATE}",
        "  # With calibrations, thresholds take its place, one for every tier but the last:",
        "  # thresholds: [0.9]",
    ]
    return "\n".join(lines) + "\n"


def _tier(model: Model, ranks: int, parsers: Mapping[str, str]) -> list[str]:
    flags: dict[str, Any] = dict(parsers)
    if ranks > 1:
        flags = {"tp_size": ranks, **flags}
    lines = [
        f"  - name: {_scalar(model.name)}",
        f"    model_path: {_scalar(model.model_path)}",
        "    # calibration: calibration/small.json  # of `cascadia calibrate`, on your prompts",
        "    # devices: [0]        # numbers of accelerators; without it any that are free",
        "    # gpu_share: 0.5      # of a device's memory; without it by the weights",
    ]
    lines[2] = lines[2].replace("small", model.name)
    for flag in ("tool_call_parser", "reasoning_parser"):
        if flag not in parsers:
            lines.append(f"    # {flag}: not found in the chat templates; goes into server_args")
    if flags:
        lines.append("    server_args:  # SGLang's flags for this tier")
        lines += [f"      {flag}: {_scalar(value)}" for flag, value in flags.items()]
    return lines


def _scalar(value: Any) -> str:
    text = str(value)
    if not isinstance(value, str) or (_PLAIN.fullmatch(text) and text.lower() not in _WORDS):
        return text
    return json.dumps(text, ensure_ascii=False)
