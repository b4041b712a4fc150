"""Why a worker ended: by an error of its own, or by something from outside."""

from enum import Enum


class WorkerEnd(Enum):
    """Whose doing a worker's end is."""

    OWN_ERROR = "its own error"
    OUTSIDE = "from outside"
    CONTROL_CALL = "a control call"
