"""Which lines reach the console, and which go to a worker's file."""

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.messages import WorkerLog
from cascadia_sglang.processes.logs import (
    KNOWN_LINES,
    StartQuiet,
    quiet_known_lines,
    split_log,
    worker_logs,
)


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    """What a root logger writes that is set up as SGLang does; what was there comes back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    filters = {name: logging.getLogger(name).filters[:] for name, _ in KNOWN_LINES}
    yield output
    for root_handler in root.handlers:
        root_handler.close()
    root.handlers = handlers
    root.setLevel(level)
    for name, earlier in filters.items():
        logging.getLogger(name).filters = earlier
    logging.getLogger("sglang").setLevel(logging.NOTSET)


def write_lines() -> None:
    logging.getLogger("sglang.srt.managers.scheduler").info("Prefill batch")
    logging.getLogger("sglang.srt.managers.scheduler").warning("out of memory")
    logging.getLogger("cascadia_sglang.worker.start_progress").info("weights 50 %")


def test_a_workers_lines_go_to_its_file_and_what_concerns_the_operator_to_the_console(
    console: io.StringIO, tmp_path: Path
) -> None:
    split_log(WorkerLog(name="small-0", folder=str(tmp_path)), " TP1")
    write_lines()
    shown = console.getvalue().splitlines()
    assert [line.partition(": ")[2] for line in shown] == ["out of memory", "weights 50 %"]
    written = (tmp_path / "small-0-TP1.log").read_text().splitlines()
    assert [line.partition(": ")[2] for line in written] == [
        "Prefill batch",
        "out of memory",
        "weights 50 %",
    ]


def test_without_a_folder_the_console_has_every_line(console: io.StringIO) -> None:
    split_log(WorkerLog(name="small-0"), "")
    write_lines()
    assert len(console.getvalue().splitlines()) == 3


def test_sglangs_lines_are_held_back_until_the_server_is_ready(
    console: io.StringIO,
) -> None:
    quiet = StartQuiet()
    quiet.begin("info")
    write_lines()
    logging.getLogger("uvicorn.error").info("Waiting for application startup.")
    quiet.end()
    logging.getLogger("uvicorn.error").info("Shutting down")
    logging.getLogger("sglang.srt.managers.tokenizer_manager").info("flushed")
    shown = [line.partition(": ")[2] for line in console.getvalue().splitlines()]
    assert shown == ["out of memory", "weights 50 %", "Shutting down", "flushed"]


def test_an_operator_who_wants_errors_alone_gets_no_warnings_at_the_start(
    console: io.StringIO,
) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    StartQuiet().begin("error")
    write_lines()
    assert console.getvalue() == ""


def test_known_lines_are_dropped_and_others_of_the_same_logger_are_not(
    console: io.StringIO,
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        quiet_known_lines()
        for name, beginning in KNOWN_LINES:
            logging.getLogger(name).warning(f"{beginning}, and more")
            logging.getLogger(name).warning("something else")
        warnings.warn("Only CUDA, HIP and XPU support AWQ currently.", stacklevel=1)
        warnings.warn("another", stacklevel=1)
    shown = console.getvalue().splitlines()
    assert [line.partition(": ")[2] for line in shown] == ["something else"] * len(KNOWN_LINES)
    # The collector may finalize other tests' objects meanwhile, and warn of them.
    messages = [str(warning.message) for warning in seen if warning.category is UserWarning]
    assert messages == ["another"]


@pytest.mark.parametrize("given", [True, False])
def test_the_folder_of_logs_is_made_and_the_users_own_emptied_of_earlier_ones(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SGLANG_LOGGING_CONFIG_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "own" if given else tmp_path / "cascadia" / "logs" / "30000"
    given_folder = str(folder) if given else None
    assert worker_logs(given_folder, 30000, is_debug=False) == folder
    (folder / "small-7.log.1").write_text("an earlier server's")
    assert worker_logs(given_folder, 30000, is_debug=False) == folder
    assert [file.name for file in folder.iterdir()] == (["small-7.log.1"] if given else [])


def test_there_is_no_folder_where_the_console_has_every_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SGLANG_LOGGING_CONFIG_PATH", raising=False)
    assert worker_logs(str(tmp_path), 30000, is_debug=True) is None
    monkeypatch.setenv("SGLANG_LOGGING_CONFIG_PATH", "own.json")
    assert worker_logs(str(tmp_path), 30000, is_debug=False) is None


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SGLANG_LOGGING_CONFIG_PATH", raising=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--cascade-logs .*file/logs: Not a directory"):
        worker_logs(str(tmp_path / "file" / "logs"), 30000, is_debug=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert worker_logs(None, 30000, is_debug=False) is None
