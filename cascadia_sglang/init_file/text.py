"""The text of a cascade file, with comments."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cascadia_sglang.config.escalation import DEFAULT_RATE
from cascadia_sglang.init_file.models import Model

_PARSERS = ("tool_call_parser", "reasoning_parser")
# Plain scalars that every YAML reader takes for a text.
_PLAIN = re.compile(r"[A-Za-z./][A-Za-z0-9._/-]*")
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def cascade_text(
    models: Sequence[Model],
    ranks: Mapping[str, int],
    parsers: Mapping[str, Mapping[str, str]],
    table: Sequence[str],
) -> str:
    """A cascade file in YAML.

    Args:
        models: smallest first.
        ranks: devices of a worker, by the model's name.
        parsers: of each model's chat template, by the model's name and SGLang's flag.
        table: of the tiers' memory, for the comments; empty before it is known.
    """
    missing = {
        flag: [model.name for model in models if flag not in parsers.get(model.name, {})]
        for flag in _PARSERS
    }
    lines = [
        "# A cascade: a request begins at the first tier, and escalates if its answer is weak.",
        "# `cascadia validate` checks this file; `cascadia schema cascade` lists every key.",
        "#",
        "# Memory and devices when this file was written:",
        *(f"#   {line}" for line in table),
        "version: 1",
        "# Smallest first. A tier may also have:",
        "#   devices: [0]      numbers of accelerators; without it any that are free",
        "#   gpu_share: 0.5    of a device's memory; without it by the weights",
        "#   replicas: 2       workers",
        "#   server_args: {}   SGLang's flags for this tier",
        *(
            f"# {flag}: not found in the chat template of {', '.join(names)}; "
            "see `sglang serve --help`"
            for flag, names in missing.items()
            if names
        ),
        "tiers:",
    ]
    for model in models:
        model_parsers = parsers.get(model.name, {})
        lines += _tier(model, ranks[model.name], model_parsers, is_last=model is models[-1])
    lines += [
        "routing:",
        "  # Share of all requests that reach the last tier. The answers of a tier without a",
        "  # calibration are ranked, and the weakest of them escalate.",
        f"  escalation_rate: {DEFAULT_RATE}",
        "  # With calibrations, thresholds may take its place, one for every tier but the last:",
        f"  # thresholds: {[0.9] * (len(models) - 1)}",
    ]
    return "\n".join(lines) + "\n"


def _tier(model: Model, ranks: int, parsers: Mapping[str, str], *, is_last: bool) -> list[str]:
    flags: dict[str, Any] = {"tp_size": ranks, **parsers} if ranks > 1 else dict(parsers)
    lines = [
        f"  - name: {_scalar(model.name)}",
        f"    model_path: {_scalar(model.model_path)}",
    ]
    if not is_last:
        lines.append(f"    # calibration: calibration/{model.name}.json  # by `cascadia calibrate`")
    if flags:
        lines.append("    server_args:")
        lines += [f"      {flag}: {_scalar(value)}" for flag, value in flags.items()]
    return lines


def _scalar(value: Any) -> str:
    text = str(value)
    if not isinstance(value, str) or (_PLAIN.fullmatch(text) and text.lower() not in _WORDS):
        return text
    return json.dumps(text, ensure_ascii=False)
