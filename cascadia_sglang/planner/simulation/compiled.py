"""Marks the functions that the simulator's events are compiled from."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """A function of the events, put in where another calls it.

    A call would hand over every array of the state, more than a hundred values, which takes longer
    than most functions' own work. None makes an array, so nobody need count who holds one. Python
    calls none of them: `machine_code` calls the outermost.
    """
    made: F = numba.njit(
        error_model="numpy",
        forceinline=True,
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    return made
