"""The type of a patch: what it changes in SGLang, why, and until when.

A patch builds its hook around the object that it serves (the cascade server in the main process,
the judge in a worker), so hooks need no globals.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["function", "async function", "async generator", "classmethod", "staticmethod"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSpec:
    """One hook on one SGLang function.

    Attributes:
        target: dotted path of the function.
        hook_type: before, after or around, as SGLang's hook registry defines them.
        kind: what the target is in the recorded release.
        parameters: names the target takes, in order, `self` and `cls` left out.
        build: takes the object the hook serves, returns the hook.
        reason: why the change is needed.
        drop_when: the event that makes it unnecessary.
        called_as: names of the function in modules that import it by name and call it. They are
            verified where such a module is loaded.
    """

    target: str
    hook_type: Literal["before", "after", "around"]
    kind: Kind
    parameters: tuple[str, ...]
    build: Callable[[Any], Callable[..., Any]]
    reason: str
    drop_when: str
    called_as: tuple[str, ...] = ()
