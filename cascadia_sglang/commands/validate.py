"""Check a cascade file without starting anything.

It refuses what a server would refuse at its start:

- unknown keys, and SGLang flags of a wrong name or type
- models that are missing, or that one server cannot serve together
- calibrations of another tier
- models that do not fit the memory

Then it prints a table of the tiers with their memory on this machine. With --gpus it prints their
memory on another machine. Key-value tokens are estimates by SGLang's own rules. Of tiers with
different tokenizers, templates or parsers it prints the voices.

Example:
    cascadia validate cascade.yaml
    cascadia validate cascade.yaml --gpus 1 --gpu H100
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.config.refused_flags import check_tier_flags
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.config.voices import Voices, voice_lines
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.launch.flag_table import flag_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file, YAML or JSON")
    parser.add_argument("--gpus", type=int, help="GPUs of another machine; default: this machine")
    parser.add_argument("--gpu", default="H100", help="with --gpus: their type; default: H100")


def run(args: argparse.Namespace) -> int:
    """Check the file and everything that it names.

    Raises:
        ConfigError: names the place and what is allowed.
    """
    machine = None if args.gpus is None else (args.gpus, args.gpu)
    for line in checked(args.cascade, {}, machine):
        print(line)
    return 0


def checked(path: Path, flags: Mapping[str, Any], machine: tuple[int, str] | None) -> list[str]:
    """Check a cascade file.

    Args:
        flags: SGLang flags of the command line that it is to be served with, by field name.
        machine: how many accelerators of which type; None for this machine.

    Returns:
        What to print: that it is valid, the table of its tiers, and their voices.

    Raises:
        ConfigError: names the place and what is allowed.
    """
    config = load_cascade(path)
    try:
        if any(tier.server_args for tier in config.tiers):
            check_tier_flags(config, flag_table())
        voices, table = check_files_and_memory(config, flags, machine)
    except ConfigError as error:
        raise ConfigError(f"cascade file {path}: {error}") from error
    names = ", ".join(tier.name for tier in config.tiers)
    return [f"{path} is valid: {names}", *table, *voice_lines(voices, config)]


def check_files_and_memory(
    config: CascadeConfig, flags: Mapping[str, Any], machine: tuple[int, str] | None
) -> tuple[Voices, Sequence[str]]:
    """Check all that a cascade's settings name; the tiers' voices, and the table of the tiers.

    Raises:
        ConfigError: names the place and what is allowed.
    """
    # What the file itself says is told first: these imports take a second.
    from cascadia_sglang.entry.model import configured_entry
    from cascadia_sglang.memory.cards import seen_cards, sheet_cards
    from cascadia_sglang.memory.tier_table import tier_table
    from cascadia_sglang.model_checks.check import check_models

    entry = configured_entry(config)
    voices = check_models(
        config,
        flags,
        vocabulary=None if entry is None else entry.vocabulary,
        is_here=machine is None,
    )
    cards = seen_cards() if machine is None else sheet_cards(*machine)
    table = tier_table(config, flags, cards)
    _check_planner(config, has_cards=bool(cards))
    _check_calibrations(config)
    if any(tier.sampling for tier in config.tiers):
        # SGLang's import takes seconds, and few cascades need it here.
        from cascadia_sglang.request_guard.sampling_check import check_tier_sampling

        check_tier_sampling(config.tiers)
    return voices, table


def _check_calibrations(config: CascadeConfig) -> None:
    for paths in filter(None, (config.calibrations(), config.draft_calibrations())):
        # The score's arithmetic is compiled, which takes most of a second to import.
        from cascadia_sglang.model_checks.calibrated import loaded_calibrations

        loaded_calibrations(config, paths)


def _check_planner(config: CascadeConfig, *, has_cards: bool) -> None:
    """Check the files that the planner's settings name, and that workers can sleep."""
    from cascadia_sglang.launch.sleep_check import check_sleep
    from cascadia_sglang.worker.emulated_pace import pace_specs

    if config.planner.sleep:
        check_sleep("cuda" if has_cards else "cpu")
    pace_specs(config)
    if config.planner.enabled:
        from cascadia_sglang.controller.build import planned_tiers

        planned_tiers(config)
