"""Where the files of a model lie on this host."""

from pathlib import Path

from httpx import HTTPError
from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.models.hub_check import check_hub_names, is_hub_name

# All that is looked at before the weights are loaded.
_SMALL_FILES = ("*.json", "*.jinja", "tokenizer*", "*.txt")


def local_folder(model_path: str) -> Path | None:
    """The folder of a model: the path itself, or what the hub's cache holds under that name.

    None where the cache holds nothing of it.
    """
    if Path(model_path).is_dir():
        return Path(model_path)
    try:
        path = try_to_load_from_cache(model_path, "config.json")
    except HFValidationError:
        return None
    return Path(path).parent if isinstance(path, str) else None


def fetch_small_files(model_path: str) -> None:
    """Have the configuration, tokenizer and templates of a hub's model in its cache.

    Nothing is asked of the hub for a folder, or where the cache has them.

    Raises:
        ConfigError: if the hub does not give them; names the model.
    """
    if Path(model_path).exists() or not is_hub_name(model_path):
        return
    folder = local_folder(model_path)
    # Something else may have asked for the configuration alone.
    if folder is not None and (folder / "tokenizer_config.json").is_file():
        return
    check_hub_names({"model": model_path})
    try:
        snapshot_download(model_path, allow_patterns=list(_SMALL_FILES))
    except (OSError, ValueError, HTTPError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise ConfigError(f"{model_path} is no folder, and not on the hub: {first_line}") from error
