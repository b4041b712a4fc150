"""JSON files that hold one struct: calibrations, profiles, entry models, samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import json_data, without_bom
from cascadia_sglang.files.unknown_keys import with_nearest_key

S = TypeVar("S", bound=msgspec.Struct)


def load_struct(path: Path, kind: type[S], what: str) -> S:
    """Read and check a file; `what` it is begins every error.

    Raises:
        ConfigError: if the file is missing or does not fit; names the file and the place.
    """
    try:
        content = path.read_bytes()
        data = msgspec.json.decode(without_bom(content), type=kind)
        # It sees what the decoder overlooks: keys that are given twice.
        json_data(content)
        return data
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what} {path}: {with_nearest_key(error, kind)}") from error


def check_tiers(made_for: Sequence[str], tiers: Sequence[str], source: str) -> None:
    """See that what was made for some tiers is used for them.

    Args:
        made_for: the tiers that it was made for.
        source: the file, as an error begins with it.

    Raises:
        ConfigError: if not.
    """
    if list(made_for) != list(tiers):
        raise ConfigError(
            f"{source}: made for tiers {', '.join(made_for)}, "
            f"but the cascade has {', '.join(tiers)}"
        )
