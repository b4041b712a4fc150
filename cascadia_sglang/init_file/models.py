"""Reads the tiers' properties from the files of their models."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascadia_sglang.config.checks import RESERVED_NAMES
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.memory.cards import Card
from cascadia_sglang.memory.fit import MemoryShape
from cascadia_sglang.memory.shares import Need, least_bytes
from cascadia_sglang.memory.weights import kv_bytes_of, parameter_count, weight_bytes
from cascadia_sglang.model_checks.chat_template import (
    ChatTemplate,
    Message,
    chat_template_of,
    rendered,
)
from cascadia_sglang.model_checks.tokenizer import load_tokenizer
from cascadia_sglang.models.local_files import fetch_small_files, local_folder
from cascadia_sglang.planner.speed.roofline import load_shape

_LONGEST_NAME = 64
_POWERS_OF_TWO = tuple(1 << power for power in range(10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A tier to be.

    Attributes:
        model_path: as the file is to have it.
        weights_bytes: as the weights are served, 16 bits a parameter where they are cast.
    """

    name: str
    model_path: str
    folder: Path
    parameters: float | None
    weights_bytes: float


def models_by_size(paths: Sequence[str], output: Path) -> list[Model]:
    """The models, the one with the fewest bytes of weights first, with names for their tiers.

    Args:
        paths: folders and hub names.
        output: the file in which they will stand.

    Raises:
        ConfigError: if a model is not there, holds no weights, or is given twice.
    """
    sized = []
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(f"{path} is given twice")
        fetch_small_files(path)
        folder = local_folder(path)
        if folder is None:
            raise ConfigError(f"{path} is neither a folder nor a hub name, of the form owner/model")
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{path} holds no model: config.json is missing")
        sized.append((weight_bytes(folder, 2), path, folder))
    names: list[str] = []
    models = []
    for size, path, folder in sorted(sized, key=lambda entry: entry[0]):
        names.append(_tier_name(path, names))
        models.append(
            Model(
                name=names[-1],
                model_path=_from(output, path, folder),
                folder=folder,
                parameters=parameter_count(folder),
                weights_bytes=size,
            )
        )
    return models


def least_ranks(model: Model, cards: Sequence[Card]) -> int:
    """Devices over which a worker of a model must be spread; 1 on a host without accelerators.

    Raises:
        ConfigError: if all of them are too few.
    """
    if not cards:
        return 1
    heads = load_shape(model.folder).heads
    free_bytes = min(card.free_bytes for card in cards)
    for ranks in itertools.takewhile(lambda n: n <= len(cards), _POWERS_OF_TWO):
        if heads % ranks:
            continue
        need = Need(
            name=model.name,
            count=1,
            weights_bytes=model.weights_bytes / ranks,
            own_bytes=MemoryShape(tp_size=ranks).own_bytes(free_bytes),
            kv_bytes=kv_bytes_of(model.folder, tp_size=ranks, pp_size=1),
        )
        if least_bytes(need) <= free_bytes:
            return ranks
    raise ConfigError(
        f"{model.model_path} has {model.weights_bytes / 1e9:.1f} GB of weights: it does not fit "
        f"{len(cards)} x {cards[0].name} with {free_bytes / 1e9:.1f} GB each"
    )


def detected_parsers_of(models: Sequence[Model]) -> dict[str, dict[str, str]]:
    """The parsers that SGLang finds in each model's chat template, by the model's name and flag."""
    # SGLang's import takes seconds, and nothing else here needs it.
    from cascadia_sglang.models.parsers import detected_parsers

    by_model = {}
    for model in models:
        template = chat_template_of(model.folder)
        if template is None:
            continue
        tokenizer = load_tokenizer(model.name, model.model_path, model.folder)

        def render(
            messages: list[Message], tools: list[dict[str, Any]], template: ChatTemplate = template
        ) -> str | None:
            conversation = rendered(template, messages, tools)
            return None if conversation.error else conversation.prompt

        by_model[model.name] = detected_parsers(template.text, tokenizer.vocabulary, render)
    return by_model


def _tier_name(path: str, earlier: Sequence[str]) -> str:
    """A name of the model's own, of the characters that a tier's name may have."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).name).strip("._-") or "model"
    name = plain[:_LONGEST_NAME]
    if name.lower() in RESERVED_NAMES:
        name = f"{name}-model"
    used = {earlier_name.lower() for earlier_name in earlier}
    number = 2
    while name.lower() in used:
        ending = f"-{number}"
        name = plain[: _LONGEST_NAME - len(ending)] + ending
        number += 1
    return name


def _from(output: Path, path: str, folder: Path) -> str:
    """A model's path as a file elsewhere can have it."""
    if not Path(path).is_dir() or output.parent.resolve() == Path.cwd():
        return path
    return str(folder.resolve())
