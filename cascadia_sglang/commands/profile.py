"""Measure each tier's step times on this machine, or estimate them for another.

It starts the cascade and loads its workers, one tier after the other. Then it fits the time of a
batch step by rows, tokens and context.

With --gpu it measures nothing. It computes the least step time of the model's shape on such a
device, from the data sheet. No step is shorter than the host's work per step.
--host-step-ms sets that work: `host.step_ms` of a profile that was measured on such a host.

Example:
    cascadia profile cascade.yaml --out profile.json
    cascadia profile cascade.yaml --out h100.json --gpu H100 --tp 2
"""

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from cascadia_sglang.files.outputs import check_output_file
from cascadia_sglang.planner.speed.profile import Profile
from cascadia_sglang.planner.speed.roofline import GPUS, roofline_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file, YAML or JSON")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--quick", action="store_true", help="measure few, small sizes")
    parser.add_argument(
        "--flag",
        action="append",
        default=[],
        help="flag of SGLang, such as --flag=--x=1; may be repeated",
    )
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=900.0,
        help="seconds that the server may take to start",
    )
    parser.add_argument("--gpu", choices=sorted(GPUS), help="estimate for this device")
    parser.add_argument("--tp", type=int, default=1, help="with --gpu: tensor parallel size")
    parser.add_argument("--pp", type=int, default=1, help="with --gpu: pipeline stages")
    add_host_argument(parser)


def add_host_argument(parser: argparse.ArgumentParser) -> None:
    """The host's part of a step that is estimated."""
    parser.add_argument(
        "--host-step-ms",
        type=_milliseconds,
        default=None,
        help="with --gpu: milliseconds of the host's work per step; default: 2.4",
    )


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number of 0 or more")
    return value


def run(args: argparse.Namespace) -> int:
    """Write the profile and say how well it fits.

    Raises:
        CascadiaError: one line on what cannot be read, started or measured.
    """
    check_output_file(args.out, "--out")
    if args.gpu is not None:
        from cascadia_sglang.config.cascade_file import load_cascade

        models = {tier.name: tier.model_path for tier in load_cascade(args.cascade).tiers}
        gpu = GPUS[args.gpu]
        if args.host_step_ms is not None:
            gpu = replace(gpu, host_step_ms=args.host_step_ms)
        profile = roofline_profile(models, gpu, args.tp, args.pp)
    else:
        # It starts SGLang's world; an estimate needs none of it.
        from cascadia_sglang.profiling.measure import measure

        profile = measure(args.cascade, args.flag, start_s=args.start_timeout, quick=args.quick)
    text = json.dumps(msgspec.to_builtins(profile), indent=1)
    args.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    for line in summary(profile):
        print(line, file=sys.stderr)
    return 0


def summary(profile: Profile) -> list[str]:
    """What each tier's fit is worth, a line a tier."""
    if profile.source == "roofline":
        return [f"{profile.device}: NOT MEASURED, step times estimated by a roofline"]
    return [
        f"{name}: decode {_error(profile, 'decode_error', name)}; "
        f"prefill {_error(profile, 'prefill_error', name)}"
        for name in profile.tiers
    ]


def _error(profile: Profile, field: str, name: str) -> str:
    error = getattr(profile, field)[name]
    return (
        f"{error.steps} steps, held-out error median {100 * error.median:.1f} %, "
        f"p95 {100 * error.p95:.1f} %, bias {100 * error.bias:+.1f} %"
    )
