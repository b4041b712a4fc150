"""Why a worker ended: by an error of its own, by something from outside, or with its node."""

from enum import Enum


class WorkerEnd(Enum):
    """Whose doing a worker's end is."""

    OWN_ERROR = "its own error"
    OUTSIDE = "from outside"
    CONTROL_CALL = "a control call"
    LOST_NODE = "with its node"
