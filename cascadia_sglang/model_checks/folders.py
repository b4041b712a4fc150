"""The models of a cascade's tiers as they lie on this host."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import read_json_object
from cascadia_sglang.models.local_files import local_folder

_INDEX = "model.safetensors.index.json"
# Transformers makes an empty tokenizer where it finds none of these.
_TOKENIZERS = ("tokenizer.json", "*.model", "*.tiktoken", "tekken.json", "vocab.*", "*.gguf")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierModel:
    """A tier's model.

    Attributes:
        folder: None where it is not on this host yet, or is no folder.
        own_flags: SGLang flags of the tier's `server_args`.
        flags: those, over the flags of the command line.
    """

    index: int
    name: str
    model_path: str
    folder: Path | None
    own_flags: Mapping[str, Any]
    flags: Mapping[str, Any]


def tier_models(config: CascadeConfig, flags: Mapping[str, Any]) -> list[TierModel]:
    """The model of every tier, in tier order.

    Args:
        flags: SGLang flags of the command line, by field name; those not given may be missing.
    """
    return [
        TierModel(
            index=index,
            name=tier.name,
            model_path=tier.model_path,
            folder=local_folder(tier.model_path),
            own_flags=tier.server_args,
            flags={**flags, **tier.server_args},
        )
        for index, tier in enumerate(config.tiers)
    ]


def check_files(model: TierModel, *, has_weights: bool) -> None:
    """See that a folder holds a model. A model of the hub is completed when SGLang loads it.

    Args:
        has_weights: whether the weights must be there.

    Raises:
        ConfigError: names the tier, the folder and what is missing.
    """
    folder = model.folder
    if folder is None or folder != Path(model.model_path):
        return
    origin = f"tier {model.name}: {folder}"
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{origin} holds no model: config.json is missing")
    if not _has_any(folder, _TOKENIZERS):
        raise ConfigError(f"{origin} holds no tokenizer ({', '.join(_TOKENIZERS)})")
    if not has_weights or model.flags.get("load_format") == "dummy":
        return
    index = folder / _INDEX
    if index.is_file():
        named = sorted(set((read_json_object(index).get("weight_map") or {}).values()))
        missing = [name for name in named if not (folder / name).is_file()]
        if missing:
            raise ConfigError(
                f"{origin} lacks {len(missing)} of {len(named)} files of weights, "
                f"the first is {missing[0]}"
            )
    if not _has_any(folder, _WEIGHTS):
        raise ConfigError(f"{origin} holds no weights ({', '.join(_WEIGHTS)})")


def _has_any(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in patterns)
