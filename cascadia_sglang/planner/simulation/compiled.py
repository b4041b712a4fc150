"""Marks the functions that the simulator's events are compiled from.

None of them makes an array, so nobody need count who holds one. Python calls none of them:
`machine_code` calls the outermost.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """A function of the events, for other such functions to call."""
    return _compiled(function, is_inlined=False)


def inlined(function: F) -> F:
    """The same, put in where it is called.

    A call hands over every array of the state, more than a hundred values. What every event calls
    would spend most of its time on that.
    """
    return _compiled(function, is_inlined=True)


def _compiled(function: F, *, is_inlined: bool) -> F:
    made: F = numba.njit(
        error_model="numpy",
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        forceinline=is_inlined,
    )(function)
    return made
