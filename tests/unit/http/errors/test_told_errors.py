"""What SGLang's handlers log of an error that the client is told."""

import logging
from collections.abc import Callable
from types import SimpleNamespace

import fastapi
import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.errors.told_errors import LOGGERS, log_told_errors_in_one_line
from cascadia_sglang.http.trace import sglang_error


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


def told(path: str, is_stream: bool, is_visible: bool) -> Exception:
    http_request = fastapi.Request({"type": "http", "path": path, "headers": []})
    request = SimpleNamespace(stream=is_stream)
    return sglang_error(RequestError(503, "worker lost"), request, http_request, is_visible)


@pytest.mark.parametrize("is_visible", [False, True])
def test_a_streamed_response_names_the_status_and_has_no_traceback(
    is_visible: bool, log: Callable[[str, Exception], str]
) -> None:
    error = told("/v1/responses", True, is_visible)
    assert str(error) == "503: worker lost"
    assert "Traceback" not in log("while streaming %s", error)


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions"])
def test_a_stream_that_is_visible_ends_with_an_error_event(path: str) -> None:
    error = told(path, True, True)
    assert isinstance(error, ValueError)
    assert vars(error) == {"status_code": 503}
