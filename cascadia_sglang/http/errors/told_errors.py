"""An error that a client is told is one line of the log: SGLang's handlers add a traceback."""

import logging

from starlette.exceptions import HTTPException

# SGLang's handlers that log what ends a stream.
LOGGERS = (
    "sglang.srt.entrypoints.anthropic.serving",
    "sglang.srt.entrypoints.openai.serving_base",
    "sglang.srt.entrypoints.openai.serving_responses",
)


def log_told_errors_in_one_line() -> None:
    """Have these loggers write no traceback of an error with an HTTP status."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_in_one_line)


def _in_one_line(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if isinstance(error, HTTPException):
        text, record.args, record.exc_info = record.getMessage(), (), None
        reason = str(error)
        record.msg = text if reason in text else f"{text}: {reason}"
    return True
