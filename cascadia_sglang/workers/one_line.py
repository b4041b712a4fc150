"""What SGLang says of a tier that cannot be started, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from cascadia_sglang.errors import WorkerError


@contextmanager
def one_line(tier: str) -> Iterator[None]:
    """Turn what SGLang raises of a tier's flags or model into one line with the tier's name.

    Raises:
        WorkerError: the first line of what SGLang says.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError, AssertionError) as error:
        first_line = str(error).strip().split("\n")[0] or type(error).__name__
        raise WorkerError(f"tier {tier} cannot be started: {first_line}") from error
