"""The simulator's events as machine code: compiled once on a machine, kept, and called directly.

Numba takes half a second to load code that it has compiled before, most of it for what it can
compile. LLVM alone takes a twentieth of that. So numba is loaded only where no code is kept.
"""

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np
from llvmlite import binding as llvm

from cascadia_sglang.planner.simulation.code_stamp import STAMP, cache_folder, writable
from cascadia_sglang.planner.simulation.state import ARRAYS, SimulatorState


@dataclass(frozen=True, slots=True, kw_only=True)
class _MachineCode:
    """An object file, and the name of its function."""

    name: str
    code: bytes


def _folder() -> Path | None:
    """Where code is kept; None where nothing can be written there."""
    folder = os.environ.get("NUMBA_CACHE_DIR")
    return cache_folder("compiled") if not folder else writable(Path(folder))


_FOLDER = _folder()


def holds_compiled_code() -> bool:
    """Whether an earlier process has left compiled code of these sources for this processor."""
    return _kept() is not None


def run_events(state: SimulatorState) -> int:
    """`events.run_events`, without Python's lock.

    Raises:
        TypeError: if an array is not what the code was compiled for.
    """
    unsettled, exception = ctypes.c_int64(), ctypes.c_void_p()
    status = load()(ctypes.byref(unsettled), ctypes.byref(exception), *_arguments(state))
    assert status == 0, f"the simulator's events ended with status {status}"
    return unsettled.value


def _arguments(state: SimulatorState) -> Iterator[int]:
    """The state as numba hands it over: of every array its owners, size, place, shape, strides."""
    for (name, (dtype, axes)), array in zip(ARRAYS.items(), state, strict=True):
        if array.dtype != dtype or array.ndim != axes or not array.flags.c_contiguous:
            raise TypeError(
                f"{name} is an array of {array.ndim} axes of {array.dtype}, allowed: {axes} axes "
                f"of {dtype}, contiguous"
            )
        yield from (0, 0, array.size, array.itemsize, array.ctypes.data)
        yield from array.shape
        yield from array.strides


@cache
def load() -> Any:
    """The compiled events, linked into this process. Numba's own way of calling:
    `status = function(result, exception, *arguments)`."""
    code = _kept()
    if code is None:
        code = _compiled()
        _keep(code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.code))
    engine.finalize_object()
    arguments = sum(5 + 2 * axes for _, axes in ARRAYS.values())
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * arguments
    )
    function: Any = prototype(engine.get_function_address(code.name))
    # The code lives as long as its engine.
    function.engine = engine
    return function


def _compiled() -> _MachineCode:
    """Compile the events."""
    import numba

    from cascadia_sglang.planner.simulation.events import run_events as outermost

    example = SimulatorState(*(np.empty((1,) * axes, dtype) for dtype, axes in ARRAYS.values()))
    events: Any = outermost
    events.compile((numba.typeof(example),))
    (overload,) = events.overloads.values()
    _, _, (code, _) = overload.library.serialize_using_object_code()
    return _MachineCode(name=overload.fndesc.llvm_func_name, code=code)


@cache
def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine()


def _path() -> Path | None:
    """The file of this code: by its sources, its compiler and the processor."""
    if _FOLDER is None:
        return None
    processor = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    made_of = f"{STAMP} {llvmlite.__version__} {_machine().triple} {processor}"
    return _FOLDER / f"events-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"


def _kept() -> _MachineCode | None:
    """What an earlier process has left; None for nothing, or a damaged file."""
    path = _path()
    if path is None or not path.exists():
        return None
    digest, _, rest = path.read_bytes().partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        return None
    name, _, code = rest.partition(b"\n")
    return _MachineCode(name=name.decode(), code=code)


def _keep(code: _MachineCode) -> None:
    """Leave code for later processes."""
    path = _path()
    if path is None:
        return
    rest = code.name.encode() + b"\n" + code.code
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
        Path(file.name).replace(path)
    except OSError:
        # The next process compiles it anew.
        return
