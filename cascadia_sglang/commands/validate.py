"""Check a cascade file without starting anything.

Example:
    cascadia validate cascade.yaml
"""

import argparse
from pathlib import Path

from cascadia_sglang.cascade_file import load_cascade
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.calibration import load_calibrations
from cascadia_sglang.refused_flags import check_tier_flags
from cascadia_sglang.workers.flag_names import flag_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file, YAML or JSON")


def run(args: argparse.Namespace) -> int:
    """Check the file, its tiers' SGLang flags, every calibration that it names, and its entry
    model where that acts.

    Raises:
        ConfigError: names the place and what is allowed.
    """
    config = load_cascade(args.cascade)
    if any(tier.server_args for tier in config.tiers):
        try:
            check_tier_flags(config, flag_names())
        except ConfigError as error:
            raise ConfigError(f"cascade file {args.cascade}: {error}") from error
    load_calibrations(config.calibrations())
    load_calibrations(config.draft_calibrations())
    configured_entry(config)
    print(f"{args.cascade} is valid: {', '.join(tier.name for tier in config.tiers)}")
    return 0
