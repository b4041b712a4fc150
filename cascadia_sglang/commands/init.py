"""Write a cascade file for some models, smallest first.

It loads no model and starts no server. A model is a folder or a name on the hub. Of a hub model it
fetches the small files alone. If one server cannot serve the models together, it writes nothing.

Example:
    cascadia init models/Qwen3-0.6B models/Qwen3-8B
    cascadia init Qwen/Qwen3-0.6B Qwen/Qwen3-8B --gpus 1 --gpu H100 --output qwen.yaml
"""

import argparse
from pathlib import Path

from cascadia_sglang.commands.validate import check_files_and_memory
from cascadia_sglang.config.cascade_file import build_cascade
from cascadia_sglang.config.voices import voice_lines
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.yaml_text import yaml_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="folder of a model, or its name on the hub"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("cascade.yaml"),
        help="file to write; default: %(default)s",
    )
    parser.add_argument("--gpus", type=int, help="GPUs of another machine; default: this machine")
    parser.add_argument("--gpu", default="H100", help="with --gpus: their type; default: H100")


def run(args: argparse.Namespace) -> int:
    """Write the file and say what to do next.

    Raises:
        ConfigError: for models that are not there, or that one server cannot serve together, and
            where the file exists already.
    """
    from cascadia_sglang.init_file.models import detected_parsers_of, least_ranks, models_by_size
    from cascadia_sglang.init_file.text import cascade_text
    from cascadia_sglang.memory.cards import seen_cards, sheet_cards

    output: Path = args.output
    if output.exists():
        raise ConfigError(f"{output} exists; give another --output")
    if not output.parent.is_dir():
        raise ConfigError(f"folder {output.parent} does not exist")
    if len(args.models) < 2:
        raise ConfigError("a cascade needs two models or more")
    machine = None if args.gpus is None else (args.gpus, args.gpu)
    cards = seen_cards() if machine is None else sheet_cards(*machine)
    models = models_by_size(args.models, output)
    ranks = {model.name: least_ranks(model, cards) for model in models}
    draft = cascade_text(models, ranks, {}, ())
    config = build_cascade(yaml_data(draft).data, "these models")
    voices, table = check_files_and_memory(config, {}, machine)
    text = cascade_text(models, ranks, detected_parsers_of(models), table)
    output.write_text(text, encoding="utf-8")
    print("\n".join([*table, *voice_lines(voices, config)]))
    print(f"{output} is written. Next:")
    print(f"    cascadia serve {output}")
    print(f"    cascadia calibrate {output} --data sample.jsonl --out calibration")
    return 0
