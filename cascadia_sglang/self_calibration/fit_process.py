"""The fit in a process of its own: whatever becomes of it, the server serves on.

python -m cascadia_sglang.self_calibration.fit_process < request.json > result.json
"""

import signal
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.errors import CalibrationError, CascadiaError
from cascadia_sglang.processes.subprocess_call import ProcessFailedError, ask_process
from cascadia_sglang.self_calibration.fit import FitResult, Fitting, fit_labels
from cascadia_sglang.self_calibration.state_folder import StateFolder

COMMAND = (sys.executable, "-m", "cascadia_sglang.self_calibration.fit_process")
DEADLINE_S = 300.0
# An orphan ends by itself after this long.
_LONGEST_S = 600


class FitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a fit is made of; see `fit_labels`.

    Attributes:
        folder: path of the state folder.
        digest: of the cascade.
        first_label: number of the oldest label that counts.
    """

    folder: str
    digest: str
    first_label: int
    tiers: list[Fitting]
    early_abort: float | None
    error: float


async def ask_fit(
    request: FitRequest, deadline_s: float = DEADLINE_S, command: tuple[str, ...] = COMMAND
) -> FitResult:
    """Have a process fit, and end it at the deadline.

    Raises:
        CalibrationError: one line; if it did not start, failed, took too long, or says no fit.
    """
    try:
        answer = await ask_process(command, msgspec.json.encode(request), deadline_s)
    except TimeoutError:
        raise CalibrationError(f"no fit within {deadline_s:g} s") from None
    except ProcessFailedError as error:
        raise CalibrationError(f"the fit {error}") from error
    try:
        return msgspec.json.decode(answer, type=FitResult)
    except (msgspec.DecodeError, ValueError) as error:
        raise CalibrationError(f"the fit wrote no result: {error}") from error


def main() -> None:
    """Read a request, write a result."""
    signal.alarm(_LONGEST_S)
    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(), type=FitRequest)
        folder = StateFolder(Path(request.folder), request.digest)
        labels = [label for _, label in folder.labels(request.first_label)]
        result = fit_labels(labels, request.tiers, request.early_abort, request.error)
    except (CascadiaError, msgspec.DecodeError) as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
