"""Errors of Cascadia.

The first paragraph of a class says when it is raised; the page of errors shows it.
"""

from typing import Any


class CascadiaError(Exception):
    """Base of every error that Cascadia raises on purpose; its text is one line."""


class CalibrationError(CascadiaError):
    """A calibration cannot be fitted from this sample, with these labels or to this target."""


class RefusedError(CalibrationError):
    """The server answered a question of the sample with an error. The next question may succeed."""


class ConfigError(CascadiaError):
    """A cascade file, a flag, a calibration or another input file is wrong."""


class PlanError(CascadiaError):
    """A problem gives no plan."""


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
    """Plans keep the quality floor, but the sample does not show it with confidence."""


class InfeasibleMoveError(PlanError):
    """No order of starts and stops leads from the running plan to the new one."""


class PlanTimeoutError(PlanError):
    """The time limit came before any plan was found."""


class PatchError(CascadiaError):
    """A patch did not take effect, or this SGLang differs from the supported ones."""


class RequestError(CascadiaError):
    """A request cannot be served. The error carries its HTTP status."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class UnreadablePromptError(CascadiaError):
    """A tier cannot be asked a prompt: its chat template or its tokenizer refuses it."""


class HungUpError(RequestError):
    """The client ended the connection before its answer."""

    def __init__(self) -> None:
        super().__init__(400, "the client disconnected")


def http_status(error: BaseException) -> int:
    """The HTTP status that a request ends with for this error; 499 where its client hung up.

    SGLang and its handlers raise `ValueError` for what a client may not ask, and errors with a
    `status_code` for the rest.
    """
    # Servers ask this; a command starts sooner without.
    import asyncio

    if isinstance(error, asyncio.CancelledError | GeneratorExit | HungUpError):
        return 499
    for name in ("status", "status_code"):
        status = getattr(error, name, None)
        if isinstance(status, int):
            return status
    return 400 if isinstance(error, ValueError) else 500


def control_status(kind: type[Exception]) -> int:
    """The HTTP status with which a route of `/cascadia` answers for an error of this class."""
    if issubclass(kind, WorkerError):
        return 503
    return 409 if issubclass(kind, PlanError | WorkloadError) else 400


class StartError(CascadiaError):
    """A server that a command started ended, or was not ready in time."""


class ClusterError(CascadiaError):
    """Ray does not answer, or a machine that it names cannot take workers."""


class StatusError(CascadiaError):
    """A running server does not answer, or is no cascade."""


class WorkloadError(CascadiaError):
    """A trace, a window of requests or a sample is too small to plan from."""


class WorkerError(CascadiaError):
    """A worker did not start, or failed."""


class WorkerLostError(WorkerError):
    """The worker of an attempt ended or hung. The attempt may run again elsewhere."""


class WorkerDiedError(WorkerLostError):
    """The worker of an attempt ended by an error of its own, which the attempt may have caused.

    Attributes:
        death: the `router.suspects.Death`.
        rid: of the attempt.
    """

    def __init__(self, message: str, death: Any, rid: str) -> None:
        super().__init__(message)
        self.death = death
        self.rid = rid


class NodeLostError(WorkerError):
    """The node of a worker was lost before the worker could serve."""


class AttemptMovedError(WorkerLostError):
    """An attempt that waited at a worker moves to another worker."""


class AttemptFailedError(WorkerError):
    """A living worker answered an attempt with an internal error."""


class WorkerUnavailableError(WorkerError):
    """A tier has no worker that accepts attempts."""


class OverloadError(WorkerError):
    """The workers of a tier hold as many attempts as they may."""
