"""How far the start of a worker has come, in lines that a log file can hold."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tqdm

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.memory.weights import weight_bytes
from cascadia_sglang.models.local_files import local_folder
from cascadia_sglang.processes.logs import shown_bytes

logger = logging.getLogger(__name__)

EVERY_S = 5.0
# At each of these parts of the weights too, unless a line was just written.
PART = 0.25
LEAST_BETWEEN_S = 1.0


class StartProgress:
    """Writes a line every few seconds, and at each quarter of the weights, until the start ends."""

    def __init__(
        self,
        say: Callable[[str], None] = logger.info,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._clock = clock
        self._began_s = self._said_s = clock()
        self._stage = "starting"
        self._part = 0  # of the weights, in units of PART
        self._ended = threading.Event()

    def begin(self) -> None:
        """Write from now on."""
        threading.Thread(target=self._run, daemon=True, name="cascadia-progress").start()

    def end(self) -> None:
        self._ended.set()

    def ending_with(self, pipe: Any) -> "ReadyPipe":
        """A pipe in place of this one; with the first message on it the start has ended."""
        return ReadyPipe(pipe, self)

    def counting(
        self, weights: Iterable[tuple[str, Any]], model_path: str
    ) -> Iterator[tuple[str, Any]]:
        """The same weights, each counted once it has been taken.

        Args:
            model_path: whose files say how many bytes there are.
        """
        total_bytes, loaded_bytes = _stored_bytes(model_path), 0
        # A load that takes a moment needs no line.
        self._said_s = self._clock()
        self.loaded(loaded_bytes, total_bytes)
        for name, tensor in weights:
            size = tensor.numel() * tensor.element_size()
            yield name, tensor
            loaded_bytes += size
            self.loaded(loaded_bytes, total_bytes)
        self._stage = "weights loaded, making the KV cache and the graphs"

    def loaded(self, loaded_bytes: float, total_bytes: float | None) -> None:
        """Note how much of the weights is there; `total_bytes` is None where nothing tells it."""
        if not total_bytes:
            self._stage = f"weights, {shown_bytes(loaded_bytes)} loaded"
            return
        share = min(1.0, loaded_bytes / total_bytes)
        self._stage = f"weights {share:.0%} of {shown_bytes(total_bytes)}"
        if int(share / PART) > self._part:
            self._part = int(share / PART)
            if self._clock() - self._said_s >= LEAST_BETWEEN_S:
                self.tell()

    def tell(self) -> None:
        """Write where the start is."""
        self._said_s = self._clock()
        self._say(f"{self._stage}, {self._said_s - self._began_s:.0f} s")

    def _run(self) -> None:
        while not self._ended.wait(self._said_s + EVERY_S - self._clock()):
            if self._clock() - self._said_s >= EVERY_S:
                self.tell()


class ReadyPipe:
    """The pipe on which a worker says that it is ready."""

    def __init__(self, pipe: Any, progress: StartProgress) -> None:
        self._pipe = pipe
        self._progress = progress

    def send(self, message: Any) -> None:
        self._progress.end()
        self._pipe.send(message)


def without_bars() -> None:
    """Show no progress bar in this process: on a console of several workers they overwrite lines,
    and in a log file they are one line without an end."""
    original = tqdm.std.tqdm.__init__

    def hidden(bar: Any, *args: Any, **options: Any) -> None:
        original(bar, *args, **{**options, "disable": True})

    setattr(tqdm.std.tqdm, "__init__", hidden)  # noqa: B010  mypy knows no other assignment


def _stored_bytes(model_path: str) -> float | None:
    """Bytes of a model's weights as its files hold them; None where they do not tell."""
    folder = local_folder(model_path)
    if folder is None:
        return None
    try:
        return weight_bytes(folder)
    except ConfigError:
        return None
