"""Errors of Cascadia.

CascadiaError
├── CalibrationError   a sample that a calibration cannot be made of
├── ConfigError        what the operator wrote cannot be served
├── PatchError         a patch did not take on this SGLang
├── RequestError       what the client sent cannot be served
└── WorkerError        a worker failed to start or is gone
"""


class CascadiaError(Exception):
    """Base of every error that Cascadia raises on purpose; its text is one line."""


class CalibrationError(CascadiaError):
    """A sample, a label or a target that a calibration cannot be made of."""


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
    """A worker that did not start, or that is gone."""
