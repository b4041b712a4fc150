"""Check a cascade file without starting anything.

Example:
    cascadia validate cascade.yaml
"""

import argparse
from pathlib import Path

from cascadia_sglang.cascade_file import load_cascade
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.judge.calibration import load_calibration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file, YAML or JSON")


def run(args: argparse.Namespace) -> int:
    """Check the file, every calibration that it names, and its entry model where that acts.

    Raises:
        ConfigError: names the place and what is allowed.
    """
    config = load_cascade(args.cascade)
    for tier in config.tiers:
        if tier.calibration is not None:
            load_calibration(Path(tier.calibration))
    configured_entry(config)
    print(f"{args.cascade} is valid: {', '.join(tier.name for tier in config.tiers)}")
    return 0
