"""Errors of a start that the operator can mend: one line, and the end of the process."""

import contextlib
import sys
from collections.abc import Iterator

from cascadia_sglang.errors import CascadiaError


@contextlib.contextmanager
def one_line_exit() -> Iterator[None]:
    """End the process with one line for an error of ours; its children go with it."""
    try:
        yield
    except CascadiaError as error:
        print(f"cascadia: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
