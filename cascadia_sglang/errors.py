"""Errors of Cascadia.

CascadiaError
├── ConfigError        what the operator wrote cannot be served
├── PatchError         a patch did not take on this SGLang
├── RequestError       what the client sent cannot be served
└── WorkerError        a worker did not start
    ├── WorkerLostError         it ended, hung or failed while it ran an attempt
    ├── WorkerUnavailableError  a tier has none that accepts attempts
    └── OverloadError           a tier's workers hold as many attempts as they may
"""


class CascadiaError(Exception):
    """Base of every error that Cascadia raises on purpose; its text is one line."""


class ConfigError(CascadiaError):
    """A cascade file, flag or calibration that cannot be served."""


class PatchError(CascadiaError):
    """A patch that did not take, or an SGLang whose seams differ."""


class RequestError(CascadiaError):
    """A request that cannot be served, with the HTTP status that says so."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class WorkerError(CascadiaError):
    """A worker that did not start."""


class WorkerLostError(WorkerError):
    """An attempt whose worker ended, hung or failed; it may be run again elsewhere."""


class WorkerUnavailableError(WorkerError):
    """A tier without a worker that accepts attempts."""


class OverloadError(WorkerError):
    """A tier whose workers hold as many attempts as they may."""
