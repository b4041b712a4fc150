"""Checks of the files that a command will write, made before the work that they are to hold."""

import os
from pathlib import Path

from cascadia_sglang.errors import ConfigError


def check_output_file(path: Path, flag: str) -> None:
    """Check that a file can be written.

    Raises:
        ConfigError: one line that names the flag, the path and the reason.
    """
    if path.is_dir():
        raise ConfigError(f"{flag} {path}: it is a folder, a file is needed")
    if not path.parent.is_dir():
        raise ConfigError(f"{flag} {path}: the folder {path.parent} does not exist")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{flag} {path}: no permission to write it")


def make_output_folder(path: Path, flag: str) -> None:
    """Create a folder for a command's files, where it is not there yet.

    Raises:
        ConfigError: one line that names the flag, the path and the reason.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{flag} {path}: no permission to write into it")
