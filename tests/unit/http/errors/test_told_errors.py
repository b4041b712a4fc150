"""What SGLang's handlers log of an error that the client is told."""

import logging
from collections.abc import Callable

import fastapi
import pytest

from cascadia_sglang.http.errors.told_errors import LOGGERS, log_told_errors_in_one_line


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[str, Exception], str]:
    """Logs an error as a handler of SGLang does; what was written."""
    log_told_errors_in_one_line()

    def write(text: str, error: Exception) -> str:
        caplog.clear()
        try:
            raise error
        except (fastapi.HTTPException, ValueError):
            logging.getLogger(LOGGERS[0]).exception(text, "resp_%s")
        return caplog.text

    return write


def test_an_error_with_a_status_has_no_traceback(log: Callable[[str, Exception], str]) -> None:
    error = fastapi.HTTPException(504, "deadline passed")
    written = log("while streaming %s", error)
    assert "while streaming resp_%s: 504: deadline passed" in written
    assert "Traceback" not in written
    assert log(f"raised: {error} in %s", error).count("deadline passed") == 1


def test_any_other_error_keeps_it(log: Callable[[str, Exception], str]) -> None:
    assert "Traceback" in log("while streaming %s", ValueError("x"))


def test_these_are_loggers_of_sglang() -> None:
    for name in LOGGERS:
        __import__(name)
        assert name in logging.Logger.manager.loggerDict
