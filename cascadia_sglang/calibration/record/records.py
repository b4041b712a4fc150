"""The answers of every tier to a sample as lines of a file, so that a run can resume."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Generic, Protocol, Self, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.calibration.record.sample import Question, prompt_key
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.same_answer import same_answer


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer of one tier.

    Attributes:
        id: of the question.
        asked: digest of all that shaped the answer; another digest is another answer.
        text: of the answer.
        tokens: at which the judge looked, ascending; the last is the whole answer's.
        features: base features after each of these; a None is a number that is not finite.
        seconds: from the request to the answer.
        prompt_ids: token ids of the question, with the first tier's answer; None where there are
            none, as of images.
        hidden: the hidden state that gave the last token, little-endian float16; None where it was
            not recorded.
    """

    id: str
    tier: str
    asked: str
    text: str
    tokens: list[int]
    features: list[list[float | None]]
    seconds: float
    prompt_ids: list[int] | None = None
    hidden: bytes | None = None

    def __post_init__(self) -> None:
        if not self.tokens or len(self.tokens) != len(self.features):
            raise ValueError("tokens and features need the same number of entries, one at least")
        if any(len(row) != len(FEATURES) for row in self.features):
            raise ValueError(f"features needs rows of {len(FEATURES)} numbers")

    @property
    def key(self) -> tuple[str, str, str]:
        return self.tier, self.id, self.asked


class DraftRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one tier made of the answer of the tier before, to one question.

    Attributes:
        id: of the question.
        tier: that read the draft.
        asked: digest of all that shaped the draft and the reading.
        kept: share of the draft's tokens that are in the tier's own answer; None where it was given
            none to read.
        features: base features of the draft as this tier reads it; None where it was given none, or
            one that was cut off.
    """

    id: str
    tier: str
    asked: str
    kept: float | None
    features: list[float | None] | None

    def __post_init__(self) -> None:
        if self.features is not None and len(self.features) != len(FEATURES):
            raise ValueError(f"features needs {len(FEATURES)} numbers")

    @property
    def key(self) -> tuple[str, str, str]:
        return self.tier, self.id, self.asked


Key = tuple[str, str, str]


class KeyedRecord(Protocol):
    """What a file of records may hold: msgspec structs that name themselves."""

    @property
    def key(self) -> Key: ...


StoredRecord = TypeVar("StoredRecord", bound=KeyedRecord)


class RecordFile(Generic[StoredRecord]):
    """Appends records to a file, each whole before the next; used as a context."""

    def __init__(self, path: Path, kind: type[StoredRecord]) -> None:
        self._path = path
        self._kind: type[StoredRecord] = kind
        self._file: BinaryIO | None = None

    def load(self) -> dict[Key, StoredRecord]:
        """Every record by its key.

        A last line without its end was being written when a run was killed: it is cut off.

        Raises:
            CalibrationError: names the line that does not fit.
        """
        if not self._path.exists():
            return {}
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)
        decoder = msgspec.json.Decoder(self._kind)
        by_key: dict[Key, StoredRecord] = {}
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                record = decoder.decode(line)
            except (msgspec.DecodeError, ValueError) as error:
                raise CalibrationError(f"records {self._path}, line {number}: {error}") from error
            by_key[record.key] = record
        return by_key

    def append(self, record: StoredRecord) -> None:
        """Write one record, and hand it to the system at once."""
        if self._file is None:
            self._file = self._path.open("ab")
        self._file.write(msgspec.json.encode(record) + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def pool_of(
    questions: Sequence[Question],
    records: Sequence[Sequence[Record]],
    right: Sequence[Sequence[bool]],
    drafts: Mapping[tuple[str, str], DraftRecord] | None = None,
) -> Pool:
    """The arrays of a sample.

    Args:
        records, right: of every tier, smallest first, in the order of the questions.
        drafts: that a tier of this name read of a question of this id; None where drafts were not
            recorded.
    """
    return Pool(
        tiers=tuple(
            _answers(tier_records, labels, records[-1], drafts)
            for tier_records, labels in zip(records, right, strict=True)
        ),
        ids=tuple(question.id for question in questions),
        prompt_keys=tuple(prompt_key(question) for question in questions),
        groups=tuple(question.group for question in questions),
        constrained_N=np.array([question.is_constrained for question in questions]),
    )


def _answers(
    records: Sequence[Record],
    right: Sequence[bool],
    last: Sequence[Record],
    drafts: Mapping[tuple[str, str], DraftRecord] | None,
) -> TierAnswers:
    features_NF = np.array([record.features[-1] for record in records], dtype=np.float64)
    prefix_NF: dict[int, FloatArray] = {}
    for row, record in enumerate(records):
        for tokens, features in zip(record.tokens[:-1], record.features[:-1], strict=True):
            if tokens not in prefix_NF:
                prefix_NF[tokens] = np.full(features_NF.shape, np.nan)
            prefix_NF[tokens][row] = np.array(features, dtype=np.float64)
    return TierAnswers(
        features_NF=features_NF,
        prefix_NF=dict(sorted(prefix_NF.items())),
        right_N=np.array(right, dtype=bool),
        same_N=np.array([same_answer(a.text, b.text) for a, b in zip(records, last, strict=True)]),
        hidden_NH=_hidden(records),
        **({} if drafts is None else _drafts(records, drafts)),
    )


def _hidden(records: Sequence[Record]) -> npt.NDArray[np.float32] | None:
    """NaN where an answer has none, or one that is not finite; None where no answer has one."""
    state_by_row = {
        row: np.frombuffer(record.hidden, "<f2")
        for row, record in enumerate(records)
        if record.hidden is not None
    }
    if not state_by_row:
        return None
    size = max(len(state_H) for state_H in state_by_row.values())
    hidden_NH = np.full((len(records), size), np.nan, dtype=np.float32)
    for row, state_H in state_by_row.items():
        if np.isfinite(state_H).all():
            hidden_NH[row] = state_H
    return hidden_NH


def _drafts(
    records: Sequence[Record], drafts: Mapping[tuple[str, str], DraftRecord]
) -> dict[str, FloatArray]:
    """The fields of `TierAnswers` that are of drafts."""
    draft_NF = np.full((len(records), len(FEATURES)), np.nan)
    kept_N = np.full(len(records), np.nan)
    for row, record in enumerate(records):
        draft = drafts.get((record.tier, record.id))
        if draft is not None:
            kept_N[row] = np.nan if draft.kept is None else draft.kept
            if draft.features is not None:
                draft_NF[row] = np.array(draft.features, dtype=np.float64)
    return {"draft_NF": draft_NF, "kept_N": kept_N}
