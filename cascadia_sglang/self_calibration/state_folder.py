"""The folder that keeps labels and fitted calibrations from one start to the next.

    labels.jsonl      a header, then a label a line; only ever added to
    labels.old.jsonl  the file before, once that one was full
    state.json        what is in force, replaced whole
    tier-1-0003.json  the calibration of a tier index, by the number of its fit

A fit has a new file name, since workers read each path once.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.calibration import Calibration, load_calibrations, save_calibration
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.self_calibration.fit import FitQuality
from cascadia_sglang.self_calibration.label import Label

logger = logging.getLogger(__name__)

# A label of two tiers takes about 1 to 4 KB, so this is some ten thousand of them.
MOST_BYTES = 32 * 2**20
# Calibration files of a tier that stay: attempts on their way name the last ones.
KEPT_FITS = 3
_LABELS, _OLD, _STATE, _LOCK = "labels.jsonl", "labels.old.jsonl", "state.json", "lock"


class ActiveFit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier's fitted calibration.

    Attributes:
        file: its name in the folder.
        quality: on the labels that shaped nothing of it.
    """

    file: str
    quality: FitQuality


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server goes on from.

    Attributes:
        digest: of the cascade that it belongs to.
        fits: how many were made so far.
        likely: as `VisitLabel.agrees` takes it; None before the first fit.
        first_label: number of the oldest label that counts: those of traffic that is gone do not.
        tiers: fitted calibrations, by the tier index as text.
    """

    digest: str
    fits: int = 0
    likely: float | None = None
    first_label: int = 0
    tiers: dict[str, ActiveFit] = {}


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a file of labels.

    Attributes:
        first: number of the file's first label; labels count on from one file to the next.
    """

    digest: str
    first: int


def digest_of(config: CascadeConfig) -> str:
    """Of all that labels and calibrations depend on: models, their order, features, what is judged.

    A model is known by its path.
    """
    parts = [
        [
            [tier.model_path, tier.prompt_suffix, tier.sampling]
            + ([] if tier.speculation is None else [str(tier.speculation)])
            for tier in config.tiers
        ],
        FEATURES,
        config.judge.scope,
    ]
    return blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=8).hexdigest()


class StateFolder:
    """Owns the folder's files. One server writes; a process that fits reads."""

    def __init__(
        self,
        path: Path,
        digest: str,
        most_bytes: int = MOST_BYTES,
        *,
        is_temporary: bool = False,
    ) -> None:
        """`is_temporary` removes the folder when it is closed, or the process ends by itself."""
        self.path = path
        if is_temporary:
            self._remove: Callable[[], object] = weakref.finalize(
                self, shutil.rmtree, path, ignore_errors=True
            )
        else:
            self._remove = lambda: None
        self.digest = digest
        self._most_bytes = most_bytes
        self._file: BinaryIO | None = None
        self._lock: BinaryIO | None = None
        self._count = 0  # number of the next label

    def open(self) -> State:
        """Make the folder where there is none, and read what it holds.

        A last line without its end was being written when a server was killed: it is cut off.

        Raises:
            ConfigError: if it cannot be used, is not such a folder, or belongs to another cascade.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take()
            state = self._read_state()
            for number, _ in self._labels(cuts=True):
                self._count = number + 1
            self._begin()
        except OSError as error:
            raise ConfigError(f"state {self.path}: {error.strerror or error}") from error
        return state

    def labels(self, first: int = 0) -> list[tuple[int, Label]]:
        """Every label from this number on, with its number.

        Changes nothing: a last line without its end is being written.

        Raises:
            ConfigError: names the line that does not fit.
        """
        return [(number, label) for number, label in self._labels() if number >= first]

    def append(self, label: Label) -> int:
        """Add a label, and hand it to the system at once; its number.

        Raises:
            OSError: if it cannot be written.
        """
        if self._file is None or self._file.tell() >= self._most_bytes:
            if self._file is not None:
                self._file.close()
                os.replace(self.path / _LABELS, self.path / _OLD)
            self._begin()
        assert self._file is not None
        self._file.write(msgspec.json.encode(label) + b"\n")
        self._file.flush()
        self._count += 1
        return self._count - 1

    def save_fit(self, tier: int, number: int, calibration: Calibration) -> Path:
        """Write a tier's calibration to a file of its own, and drop those long out of use."""
        path = self.path / f"tier-{tier}-{number:04d}.json"
        save_calibration(calibration, path)
        for old in sorted(self.path.glob(f"tier-{tier}-*.json"))[:-KEPT_FITS]:
            old.unlink(missing_ok=True)
        return path

    def save_state(self, state: State) -> None:
        """Replace the state, whole."""
        new = self.path / f"{_STATE}.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
        os.replace(new, self.path / _STATE)

    def calibrations(self, state: State) -> dict[int, tuple[Path, Calibration]]:
        """The fitted calibrations in force, by tier index.

        Raises:
            ConfigError: if a file is missing or does not fit its place.
        """
        paths = {int(tier): self.path / entry.file for tier, entry in state.tiers.items()}
        loaded = load_calibrations({tier: str(path) for tier, path in paths.items()})
        return {tier: (paths[tier], calibration) for tier, calibration in loaded.items()}

    def close(self) -> None:
        """Let another server have it."""
        for file in (self._file, self._lock):
            if file is not None:
                file.close()
        self._file = self._lock = None
        self._remove()

    def _take(self) -> None:
        self._lock = (self.path / _LOCK).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"state {self.path}: another server uses it") from None

    def _begin(self) -> None:
        path = self.path / _LABELS
        if not path.exists():
            header = _Header(digest=self.digest, first=self._count)
            path.write_bytes(msgspec.json.encode(header) + b"\n")
        self._file = path.open("ab")

    def _read_state(self) -> State:
        path = self.path / _STATE
        if not path.exists():
            return State(digest=self.digest)
        try:
            state = msgspec.json.decode(path.read_bytes(), type=State)
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigError(f"state {path}: {error}") from error
        self._check(state.digest, path)
        return state

    def _labels(self, *, cuts: bool = False) -> Iterator[tuple[int, Label]]:
        decoder = msgspec.json.Decoder(Label)
        for name in (_OLD, _LABELS):
            path = self.path / name
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                header = self._header(file.readline(), path)
                size = file.tell() if header is not None else 0
                if header is None:
                    if cuts:
                        _cut(path, size)
                    continue
                for line, text in enumerate(file, 2):
                    if not text.endswith(b"\n"):
                        if cuts:
                            _cut(path, size)
                        break
                    size += len(text)
                    try:
                        label = decoder.decode(text)
                    except (msgspec.DecodeError, ValueError) as error:
                        raise ConfigError(f"state {path}, line {line}: {error}") from error
                    yield header.first + line - 2, label

    def _header(self, text: bytes, path: Path) -> _Header | None:
        if not text.endswith(b"\n"):
            return None
        try:
            header = msgspec.json.decode(text, type=_Header)
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigError(f"state {path}, line 1: {error}") from error
        self._check(header.digest, path)
        return header

    def _check(self, digest: str, path: Path) -> None:
        if digest != self.digest:
            raise ConfigError(
                f"state {path}: made for other models, another order of them, or another release; "
                "name another folder, or delete this one"
            )


def _cut(path: Path, size: int) -> None:
    """Drop a line that was never finished; a file without a whole header goes."""
    logger.warning("state %s: the last line is not whole, it is left out", path)
    if size:
        os.truncate(path, size)
    else:
        path.unlink()
