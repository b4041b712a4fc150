"""Where the files of a model lie on this host."""

from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError


def local_folder(model_path: str) -> Path | None:
    """The folder of a model: the path itself, or what the hub's cache holds under that name.

    None where the cache holds nothing of it.
    """
    if Path(model_path).is_dir():
        return Path(model_path)
    try:
        found = try_to_load_from_cache(model_path, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None
