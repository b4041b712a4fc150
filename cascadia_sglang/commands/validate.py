"""Check a cascade file without starting anything.

Where there are accelerators, or --gpus says how many of which kind, it prints on which devices
every tier's workers lie and how their memory is divided. A model that does not fit is refused with
what it lacks. Key-value tokens are estimates, by SGLang's own rules of what it keeps free.

Example:
    cascadia validate cascade.yaml
    cascadia validate cascade.yaml --gpus 1 --gpu H100
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cascadia_sglang.cascade_file import load_cascade
from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.calibration import load_calibrations
from cascadia_sglang.memory.cards import Card, seen_cards, sheet_cards
from cascadia_sglang.memory.fit import PoolMemory, Shape, pool_memory
from cascadia_sglang.planner.devices import devices_of
from cascadia_sglang.planner.problem import GpuType
from cascadia_sglang.pool_specs import pool_specs
from cascadia_sglang.refused_flags import check_tier_flags
from cascadia_sglang.workers.flag_table import flag_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file, YAML or JSON")
    parser.add_argument("--gpus", type=int, help="accelerators of another machine than this one")
    parser.add_argument("--gpu", default="H100", help="with --gpus: which; default: H100")


def run(args: argparse.Namespace) -> int:
    """Check the file, its tiers' SGLang flags, every calibration that it names, its entry model
    where that acts, and whether its models fit the accelerators.

    Raises:
        ConfigError: names the place and what is allowed.
    """
    config = load_cascade(args.cascade)
    if any(tier.server_args for tier in config.tiers):
        try:
            check_tier_flags(config, flag_table())
        except ConfigError as error:
            raise ConfigError(f"cascade file {args.cascade}: {error}") from error
    load_calibrations(config.calibrations())
    load_calibrations(config.draft_calibrations())
    configured_entry(config)
    cards = seen_cards() if args.gpus is None else sheet_cards(args.gpus, args.gpu)
    try:
        told = memory_table(config, cards) if cards else []
    except ConfigError as error:
        raise ConfigError(f"cascade file {args.cascade}: {error}") from error
    print(f"{args.cascade} is valid: {', '.join(tier.name for tier in config.tiers)}")
    print("\n".join(told), end="\n" if told else "")
    return 0


def memory_table(config: CascadeConfig, cards: Sequence[Card]) -> list[str]:
    """Devices and gigabytes of every tier on these cards, a line each under a heading.

    Raises:
        ConfigError: if a model does not fit; names the tier, what it needs and what there is.
    """
    pools = pool_specs(config)
    shapes = {
        pool.name: Shape(
            tp_size=int(pool.server_args.get("tp_size") or 1),
            pp_size=int(pool.server_args.get("pp_size") or 1),
            static=pool.server_args.get("mem_fraction_static"),
        )
        for pool in pools
    }
    kind = GpuType(gpu=cards[0].name, nodes=1, gpus_per_node=len(cards))
    lines = [
        f"{len(cards)} x {cards[0].name}",
        f"{'tier':<24}{'devices':<16}{'share':>7}{'GB each':>9}{'weights':>9}{'KV tokens':>11}",
    ]
    return lines + [_line(one, kind) for one in pool_memory(pools, shapes, cards)]


def _line(one: PoolMemory, kind: GpuType) -> str:
    places = " ".join(
        "+".join(str(device) for _, _, device in devices_of(replica, kind))
        for replica in one.replicas
    )
    share = "alone" if one.share is None else f"{one.share:.3f}"
    weights = "unknown" if one.weights_bytes is None else f"{one.weights_bytes / 1e9:.1f}"
    tokens = "unknown" if one.kv_tokens is None else f"{one.kv_tokens:,}"
    gigabytes = f"{one.device_bytes / 1e9:.1f}"
    return f"{one.name:<24}{places:<16}{share:>7}{gigabytes:>9}{weights:>9}{tokens:>11}"
