"""Recorded answers of real models: token ids, statistics of every token, labels; no prose.

A run keeps whole answers in a cache folder; what lies in the repository is packed from them.

Shape legend: T tokens of an answer, V step values (log-probability, entropy, margin,
self-certainty), F base features.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np

from bench.real.checker import normalised
from cascadia_kernels.layout import STEP_VALUES
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.features import FEATURES, features_of
from cascadia_sglang.judge.state import NO_ROW, empty_states, fold_step

STORED = Path(__file__).parent / "answers.jsonl.gz"
# The step values that are stored, in this order.
VALUES = ("logprob", "entropy", "margin", "self_certainty")
_SUMS = ("sum_logprob", "mean_entropy", "mean_margin", "mean_self_certainty")
_DIGITS = 5


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole answer of one model, as it was recorded.

    Attributes:
        id: of the question.
        model: name of the model's folder.
        asked: digest of all that shaped the answer.
        output_ids: T token ids.
        values: T rows of V step values.
        is_truncated: whether the answer ended at its length limit.
        seconds: from the request to the answer, while others were being written.
    """

    id: str
    model: str
    asked: str
    temperature: float
    text: str
    output_ids: list[int]
    values: list[list[float]]
    prompt_tokens: int
    is_truncated: bool
    seconds: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.id, self.asked


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer without its text.

    Attributes:
        right: None where nobody knows.
        text_key: equal where two texts are equal but for case, spaces and quotes.
    """

    id: str
    model: str
    temperature: float
    right: bool | None
    text_key: str
    output_ids: list[int]
    values: list[list[float]]
    prompt_tokens: int
    is_truncated: bool
    seconds: float

    def features(self, tokens: int | None = None) -> FloatArray:
        """The judge's base features, [F], after so many tokens; None for the whole answer."""
        count = len(self.values) if tokens is None else tokens
        is_whole = count == len(self.values)
        values_TD = np.zeros((count, len(STEP_VALUES)))
        values_TD[:, STEP_VALUES.index("known")] = 1.0
        columns = [STEP_VALUES.index(name) for name in VALUES]
        values_TD[:, columns] = self.values[:count]
        states_1S = empty_states(1)
        fold_step(states_1S, np.zeros(count, np.int64), np.arange(count), values_TD, NO_ROW)
        answer_13 = np.array([[0, self.prompt_tokens, is_whole and self.is_truncated]])
        features_F: FloatArray = features_of(states_1S, answer_13)[0]
        return features_F


def step_values(features: Sequence[Sequence[float | None]]) -> list[list[float]]:
    """The step values of every token, from the features after each token.

    Raises:
        ValueError: if a feature is not a finite number.
    """
    features_TF = np.array(features, dtype=np.float64)
    if not np.isfinite(features_TF).all():
        raise ValueError("a recorded feature is not finite")
    count_T = np.arange(1, len(features_TF) + 1)
    columns = []
    for name in _SUMS:
        sums_T = features_TF[:, FEATURES.index(name)]
        if name != "sum_logprob":
            sums_T = sums_T * count_T
        columns.append(np.diff(sums_T, prepend=0.0))
    values: list[list[float]] = np.stack(columns, axis=1).tolist()
    return values


def packed(answer: Answer, right: bool | None) -> StoredAnswer:
    """An answer without its text, its numbers rounded."""
    return StoredAnswer(
        id=answer.id,
        model=answer.model,
        temperature=answer.temperature,
        right=right,
        text_key=blake2b(normalised(answer.text).encode(), digest_size=6).hexdigest(),
        output_ids=answer.output_ids,
        values=[[float(f"{value:.{_DIGITS}g}") for value in row] for row in answer.values],
        prompt_tokens=answer.prompt_tokens,
        is_truncated=answer.is_truncated,
        seconds=round(answer.seconds, 2),
    )


def save_answers(answers: Iterable[StoredAnswer], path: Path = STORED) -> None:
    """Write them all, sorted; the same answers always give the same bytes."""
    ordered = sorted(answers, key=lambda a: (a.model, a.id, a.temperature))
    lines = b"".join(msgspec.json.encode(answer) + b"\n" for answer in ordered)
    path.write_bytes(gzip.compress(lines, compresslevel=9, mtime=0))


def load_answers(path: Path = STORED) -> list[StoredAnswer]:
    """All that are stored.

    Raises:
        SystemExit: if there are none.
    """
    if not path.exists():
        raise SystemExit(f"{path} is missing: bench.real.record makes it")
    decoder = msgspec.json.Decoder(StoredAnswer)
    return [decoder.decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
