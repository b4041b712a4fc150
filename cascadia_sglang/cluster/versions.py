"""The versions that a server and all its nodes must share."""

import importlib.metadata
import platform
from collections.abc import Mapping

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.version import __version__

_PACKAGES = ("sglang", "torch", "transformers")


def versions_here() -> dict[str, str]:
    """Of Python, Cascadia and the packages that workers are made of, on this host."""
    python = ".".join(platform.python_version_tuple()[:2])
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": python, "cascadia-sglang": __version__, **packages}


def check_versions(of_server: Mapping[str, str]) -> None:
    """Check that this host has what the server has.

    Raises:
        ConfigError: names the package and both versions.
    """
    here = versions_here()
    for name, version in of_server.items():
        if here.get(name) != version:
            raise ConfigError(
                f"{name} is {here.get(name)} there and {version} on the server, allowed: the same"
            )
