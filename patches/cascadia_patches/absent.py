"""Gives SGLang what it lacks on this host: operations that are None, modules that do not import.

SGLang's hook registry wraps functions that exist. Of a None it would replace every None in every
module.
"""

import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

from cascadia_sglang.errors import PatchError


def fill_absent(target: str, stand_in: Any) -> None:
    """Bind a name of SGLang's that is None; leave any other value as it is.

    Raises:
        PatchError: if there is no such name.
    """
    owner_path, _, name = target.rpartition(".")
    try:
        owner = pkgutil.resolve_name(owner_path)
        current = vars(owner)[name]
    except (ImportError, AttributeError, KeyError) as error:
        raise PatchError(f"{target} does not exist in this SGLang") from error
    if current is None:
        setattr(owner, name, stand_in)


def provide_module(name: str, **members: Any) -> None:
    """Provide a module that cannot be imported here; leave one that can."""
    try:
        importlib.import_module(name)
    except ImportError:
        module = ModuleType(name, "A stand-in: the real module cannot be imported on this host.")
        vars(module).update(members)
        sys.modules[name] = module
