"""Selects SGLang's log lines for the console, and files the rest.

SGLang starts one engine; a cascade starts several, and each would tell its whole story on the same
console. So the console has the main process's lines, every warning and error, and what Cascadia
says. A worker's own lines go to a file of its own. `--log-level debug` shows everything.
"""

import logging
import os
import warnings
from logging.handlers import RotatingFileHandler
from pathlib import Path

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.messages import WorkerLog

OWN_LOGGERS = "cascadia"
# The operator's own way to say what SGLang logs.
OPERATORS_CONFIG = "SGLANG_LOGGING_CONFIG_PATH"
MAX_FILE_BYTES = 16 * 2**20

# Lines that say nothing to who serves a cascade, by logger and beginning. SGLang's own CPU path
# is not the one that serves here. The models that it cannot import on a CPU are others. It sets the
# variable that it calls deprecated itself, when it resolves the first tier's flags.
KNOWN_LINES = (
    ("sglang.srt.arg_groups.overrides", "The current platform does not support Intel AMX"),
    ("sglang.srt.distributed.bootstrap", "init_cpu_threads_env and shared memory based"),
    ("sglang.srt.arg_groups.serving_hook", "SGLANG_USE_CUDA_IPC_TRANSPORT is deprecated"),
    ("sglang.srt.models.registry", "Ignore import error when loading"),
    ("sglang.srt.managers.multimodal_processor", "Ignore import error when loading"),
    ("sglang.kernels.jit.utils.arch", "Cannot detect CUDA architecture"),
    ("sglang.srt.utils.common", "kill_process_tree called"),
)
KNOWN_WARNINGS = (
    "Only CUDA, HIP and XPU support AWQ",
    "Only CUDA, MUSA and NPU support GGUF",
    "Triton is not supported on current platform",
)


class _Unlike:
    """Lets every line of a logger pass, but those that begin so."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning

    def __call__(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(self._beginning)


def quiet_known_lines() -> None:
    """Drop `KNOWN_LINES` and `KNOWN_WARNINGS` in this process, and in those forked from it."""
    for name, beginning in KNOWN_LINES:
        logging.getLogger(name).addFilter(_Unlike(beginning))
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


class StartQuiet:
    """Holds the main process's lines of SGLang and of its HTTP server back while it starts."""

    def __init__(self) -> None:
        self._is_quiet = False

    def begin(self, level: str) -> None:
        """Show warnings and errors alone from now on; fewer, where `level` asks for fewer."""
        self._is_quiet = True
        configured = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        logging.getLogger("sglang").setLevel(max(configured, logging.WARNING))
        for name in ("uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).addFilter(self._shows)

    def end(self) -> None:
        """Show again what the operator asked for. A second call does nothing."""
        if self._is_quiet:
            self._is_quiet = False
            logging.getLogger("sglang").setLevel(logging.NOTSET)

    def _shows(self, record: logging.LogRecord) -> bool:
        return not self._is_quiet or record.levelno >= logging.WARNING


# Of this process, whose loggers are the process's too.
START = StartQuiet()


def worker_logs(folder: str | None, port: int | str, *, is_debug: bool) -> Path | None:
    """The folder of the workers' logs; None where their lines go to the console.

    Args:
        folder: that the operator asks for, whose files are added to; None for the one of this user
            and port, which is emptied.
        port: of the server; another name for workers that are not on its host.

    Raises:
        ConfigError: if the folder that was asked for cannot be made.
    """
    if is_debug or OPERATORS_CONFIG in os.environ:
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "cascadia" / "logs" / str(port) if folder is None else Path(folder)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in path.glob("*.log*") if folder is None else ():
            old.unlink()
    except OSError as error:
        if folder is not None:
            raise ConfigError(f"--cascade-logs {folder}: {error.strerror}") from error
        # A host without a home: nothing is lost.
        return None
    return path.resolve()


def split_log(log: WorkerLog, rank: str) -> None:
    """Send a process's lines to its file, and to the console those that concern the operator.

    Args:
        rank: as SGLang writes it, " TP1" for example; empty for a worker of one process.
    """
    if log.folder is None:
        return
    root = logging.getLogger()
    formatter = root.handlers[0].formatter
    for console in root.handlers:
        console.addFilter(_concerns_the_operator)
    name = log.name + rank.replace(" ", "-")
    file = RotatingFileHandler(
        Path(log.folder) / f"{name}.log", maxBytes=MAX_FILE_BYTES, backupCount=1, delay=True
    )
    file.setFormatter(formatter)
    root.addHandler(file)


def _concerns_the_operator(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.startswith(OWN_LOGGERS)


def shown_bytes(size_bytes: float) -> str:
    """A size in megabytes or gigabytes."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e8 else f"{size_bytes / 1e9:.1f} GB"
