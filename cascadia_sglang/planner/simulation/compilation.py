"""Compiles the simulator before a plan's clock begins.

It takes some 20 s, once for every version of the sources on a machine. A limit of 10 s would end
the first plan before it has looked at anything.
"""

from collections.abc import Callable

from cascadia_sglang.planner.simulation.machine_code import holds_compiled_code, load


def compile_simulator(report: Callable[[str], None] | None = None) -> None:
    """Compile the simulator, or load what an earlier process compiled.

    Args:
        report: takes a line where it has to be compiled.
    """
    if report is not None and not holds_compiled_code():
        report("compiling the simulator, once on this machine; the time limit begins after it")
    load()
