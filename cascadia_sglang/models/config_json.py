"""The `config.json` of a tier's model: in a folder, or on the model hub where SGLang finds it."""

from pathlib import Path
from typing import Any

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import read_json_object
from cascadia_sglang.models.hub_check import check_hub_names, is_hub_name


def read_model_config(model: str | Path) -> dict[str, Any]:
    """What a model's `config.json` says.

    Args:
        model: a folder, or a hub name; the hub's file is kept in its cache.

    Raises:
        ConfigError: if it cannot be read; names the file or the hub name.
    """
    path = Path(model) / "config.json"
    if not path.is_file() and not Path(model).is_dir() and is_hub_name(str(model)):
        path = _from_hub(str(model))
    return read_json_object(path)


def _from_hub(name: str) -> Path:
    check_hub_names({"model": name})
    # The import takes a second, and a folder needs none of it.
    from transformers.utils import cached_file

    try:
        path = cached_file(name, "config.json")
    except OSError as error:
        first_line = str(error).strip().split("\n")[0]
        raise ConfigError(f"{name} is no folder, and not on the hub: {first_line}") from error
    return Path(str(path))
