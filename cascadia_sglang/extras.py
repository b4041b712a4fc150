"""Libraries that only some commands need, and the extra of this package that installs each."""

import importlib.util

from cascadia_sglang.errors import ConfigError

# Module, its name for an installer, and the extra.
_EXTRAS = {
    "sklearn": ("scikit-learn", "calibrate"),
    "matplotlib": ("matplotlib", "plot"),
    "ray": ("ray", "ray"),
}


def install_hint(module: str) -> str:
    """What to say where a library of an extra is missing."""
    library, extra = _EXTRAS[module]
    return f"{library} is missing; install it with: pip install 'cascadia-sglang[{extra}]'"


def is_installed(module: str) -> bool:
    """Whether a library of an extra is there; it is not imported, which can take seconds."""
    return importlib.util.find_spec(module) is not None


def require(module: str) -> None:
    """Check that a library of an extra is there, before any work that would need it.

    Raises:
        ConfigError: one line that names the extra.
    """
    if not is_installed(module):
        raise ConfigError(install_hint(module))
