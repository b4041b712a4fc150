"""Cascadia: model cascades inside one SGLang server.

The names in `__all__` are the public Python API. Each is imported when it is first used, so that
importing the package loads neither PyTorch nor SGLang.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cascadia_sglang.version import __version__

if TYPE_CHECKING:
    from cascadia_sglang.calibration.calibrate_cascade import CalibrationResult, calibrate
    from cascadia_sglang.commands.status import read_status
    from cascadia_sglang.config.cascade_file import load_cascade
    from cascadia_sglang.config.settings import CascadeConfig
    from cascadia_sglang.errors import CascadiaError
    from cascadia_sglang.planner.advice import Advice, advise
    from cascadia_sglang.planner.plan import Plan, Sweep
    from cascadia_sglang.planner.problem.checks import load_problem
    from cascadia_sglang.planner.problem.problem import Problem
    from cascadia_sglang.planner.simulate_plan import Simulation, simulate
    from cascadia_sglang.planner.solve import solve, sweep
    from cascadia_sglang.server.server import current_server

__all__ = [
    "Advice",
    "CalibrationResult",
    "CascadeConfig",
    "CascadiaError",
    "Plan",
    "Problem",
    "Simulation",
    "Sweep",
    "__version__",
    "advise",
    "calibrate",
    "current_server",
    "load_cascade",
    "load_problem",
    "read_status",
    "simulate",
    "solve",
    "sweep",
]

# The module of each public name.
_MODULES = {
    "Advice": "cascadia_sglang.planner.advice",
    "CalibrationResult": "cascadia_sglang.calibration.calibrate_cascade",
    "CascadeConfig": "cascadia_sglang.config.settings",
    "CascadiaError": "cascadia_sglang.errors",
    "Plan": "cascadia_sglang.planner.plan",
    "Problem": "cascadia_sglang.planner.problem.problem",
    "Simulation": "cascadia_sglang.planner.simulate_plan",
    "Sweep": "cascadia_sglang.planner.plan",
    "advise": "cascadia_sglang.planner.advice",
    "calibrate": "cascadia_sglang.calibration.calibrate_cascade",
    "current_server": "cascadia_sglang.server.server",
    "load_cascade": "cascadia_sglang.config.cascade_file",
    "load_problem": "cascadia_sglang.planner.problem.checks",
    "read_status": "cascadia_sglang.commands.status",
    "simulate": "cascadia_sglang.planner.simulate_plan",
    "solve": "cascadia_sglang.planner.solve",
    "sweep": "cascadia_sglang.planner.solve",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
