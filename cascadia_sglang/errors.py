"""Errors of Cascadia.

CascadiaError
├── CalibrationError   a sample that a calibration cannot be made of
├── ConfigError        what the operator wrote cannot be served
├── PlanError          no plan comes out
│   ├── InfeasibleMoveError   no order of starts and stops leads to it
│   ├── InfeasiblePlanError   no plan keeps the budget and the quality floor
│   │   └── FloorNotShownError    plans keep it, but the sample does not show that with confidence
│   └── PlanTimeoutError      the time limit came before any plan
├── PatchError         a patch did not take on this SGLang
├── RequestError       what the client sent cannot be served
│   └── HungUpError           the client ended the connection
├── StartError         a server that a command needs did not start
├── StatusError        a server that a command asks does not answer
├── WorkloadError      a trace, a window or a sample that says too little to plan by
└── WorkerError        a worker did not start
    ├── WorkerLostError         it ended while it ran an attempt
    │   ├── AttemptMovedError   the attempt only waited there
    │   └── WorkerDiedError     it ended by an error of its own
    ├── AttemptFailedError      it answered an attempt with an internal error
    ├── WorkerUnavailableError  a tier has none that accepts attempts
    └── OverloadError           a tier's workers hold as many attempts as they may
"""

import asyncio
from typing import Any


class CascadiaError(Exception):
    """Base of every error that Cascadia raises on purpose; its text is one line."""


class CalibrationError(CascadiaError):
    """A sample, a label or a target that a calibration cannot be made of."""


class ConfigError(CascadiaError):
    """A cascade file, flag or calibration that cannot be served."""


class PlanError(CascadiaError):
    """A problem that gives no plan."""


class InfeasiblePlanError(PlanError):
    """No plan keeps the budget and the quality floor.

    Attributes:
        tier: that lacks GPUs; None where the reason is another.
        lacks_gpus: how many more it needs than are left to it.
    """

    def __init__(self, message: str, tier: str | None = None, lacks_gpus: int = 0) -> None:
        super().__init__(message)
        self.tier = tier
        self.lacks_gpus = lacks_gpus


class FloorNotShownError(InfeasiblePlanError):
    """Plans keep the quality floor, but the sample is too small or too poor to certify it."""


class InfeasibleMoveError(PlanError):
    """No order of starts and stops leads from the running plan to another by the rules."""


class PlanTimeoutError(PlanError):
    """The time limit came before any plan was found."""


class PatchError(CascadiaError):
    """A patch that did not take, or an SGLang whose seams differ."""


class RequestError(CascadiaError):
    """A request that cannot be served, with the HTTP status that says so."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class HungUpError(RequestError):
    """A request whose client ended the connection; nobody reads its status."""

    def __init__(self) -> None:
        super().__init__(400, "the client disconnected")


def http_status(error: BaseException) -> int:
    """The HTTP status that a request ends with for this error; 499 where its client hung up.

    SGLang and its handlers raise `ValueError` for what a client may not ask, and errors with a
    `status_code` for the rest.
    """
    if isinstance(error, asyncio.CancelledError | GeneratorExit | HungUpError):
        return 499
    for name in ("status", "status_code"):
        status = getattr(error, name, None)
        if isinstance(status, int):
            return status
    return 400 if isinstance(error, ValueError) else 500


class StartError(CascadiaError):
    """A server, started as a child process, that ended or was not ready in time."""


class StatusError(CascadiaError):
    """A running server that does not answer, or not as a cascade does."""


class WorkloadError(CascadiaError):
    """A trace, a window or a sample that says too little to plan by."""


class WorkerError(CascadiaError):
    """A worker that did not start."""


class WorkerLostError(WorkerError):
    """An attempt whose worker ended or hung; it may be run again elsewhere."""


class WorkerDiedError(WorkerLostError):
    """An attempt whose worker ended by an error of its own, which the attempt may have caused.

    Attributes:
        death: the `router.suspects.Death`.
        rid: of the attempt.
    """

    def __init__(self, message: str, death: Any, rid: str) -> None:
        super().__init__(message)
        self.death = death
        self.rid = rid


class AttemptMovedError(WorkerLostError):
    """An attempt that waited at its worker and is to run on another one."""


class AttemptFailedError(WorkerError):
    """An attempt that a living worker answered with an internal error."""


class WorkerUnavailableError(WorkerError):
    """A tier without a worker that accepts attempts."""


class OverloadError(WorkerError):
    """A tier whose workers hold as many attempts as they may."""
