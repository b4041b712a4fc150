"""Labels of one tier as arrays, with their weights.

Shape legend: N labels of a tier, F base features, J earlier tiers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.record.pool import TierAnswers
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.self_calibration.label import Label, VisitLabel

# A prompt's part follows from its digest alone, so equal prompts stay in one part, and a label that
# fits once never measures later.
PARTS = ("fit", "fit", "check", "certify")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRows:
    """The labels of one tier whose agreement is known.

    Attributes:
        answers: features, and in `right_N` whether the last tier agrees.
        weight_N: prompts that each label stands for.
        thinned_N: whether it belongs to the part with equal chances.
        part_N: the part of each prompt.
        label_N: places of the labels in the list that they come from.
    """

    answers: TierAnswers
    weight_N: FloatArray
    thinned_N: BoolArray
    part_N: npt.NDArray[np.str_]
    label_N: RowArray

    def __len__(self) -> int:
        return len(self.weight_N)

    def take(self, rows_M: RowArray) -> "TierRows":
        """Some of the labels."""
        return replace(
            self,
            answers=self.answers.take(rows_M),
            weight_N=self.weight_N[rows_M],
            thinned_N=self.thinned_N[rows_M],
            part_N=self.part_N[rows_M],
            label_N=self.label_N[rows_M],
        )

    @property
    def effective(self) -> float:
        """How many equally weighted labels these are worth."""
        total = float(self.weight_N.sum())
        return total * total / float((self.weight_N**2).sum()) if len(self) else 0.0

    @property
    def fit_weights(self) -> FloatArray:
        """Weights that sum to the effective number: a penalty then counts as it does elsewhere."""
        weight_N: FloatArray = self.weight_N * self.effective / self.weight_N.sum()
        return weight_N


def part_of(prompt: str) -> str:
    """The part that a prompt of this digest belongs to."""
    digest = blake2b(b"self-calibration " + prompt.encode(), digest_size=8).digest()
    return PARTS[int.from_bytes(digest, "big") % len(PARTS)]


def rows_of(labels: Sequence[Label], tier: int, likely: float | None) -> TierRows:
    """The labels of a tier with finite features whose agreement is known.

    Args:
        likely: as `VisitLabel.agrees` takes it.
    """
    rows: list[tuple[int, VisitLabel, bool]] = []
    for index, label in enumerate(labels):
        for visit in label.visits:
            agrees = visit.agrees(likely)
            if visit.tier == tier and agrees is not None and None not in visit.features[-1]:
                rows.append((index, visit, agrees))
    chosen = [labels[index] for index, _, _ in rows]
    return TierRows(
        answers=TierAnswers(
            features_NF=_features([visit.features[-1] for _, visit, _ in rows]),
            prefix_NF=_prefixes([visit for _, visit, _ in rows]),
            right_N=np.array([agrees for _, _, agrees in rows], dtype=bool),
        ),
        weight_N=np.array([label.weight for label in chosen], dtype=np.float64),
        thinned_N=np.array([label.is_thinned for label in chosen], dtype=bool),
        part_N=np.array([part_of(label.prompt) for label in chosen], dtype=np.str_),
        label_N=np.array([index for index, _, _ in rows], dtype=np.intp),
    )


def weighted_quantiles(
    values_N: FloatArray, weight_N: FloatArray, at_K: FloatArray | list[float]
) -> FloatArray:
    """The least value at which the weights below and at it reach each share of all, [K]."""
    order_N = np.argsort(values_N, kind="stable")
    mass_N = np.cumsum(weight_N[order_N])
    mass_at_K = np.asarray(at_K) * mass_N[-1]
    places_K = np.searchsorted(mass_N, mass_at_K * (1 - 1e-12), "left")
    quantiles_K: FloatArray = values_N[order_N][np.clip(places_K, 0, len(values_N) - 1)]
    return quantiles_K


def _features(rows: Sequence[Sequence[float | None]]) -> FloatArray:
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(FEATURES))


def _prefixes(visits: Sequence[VisitLabel]) -> dict[int, FloatArray]:
    prefixes: dict[int, FloatArray] = {}
    for row, visit in enumerate(visits):
        for tokens, features in zip(visit.tokens[:-1], visit.features[:-1], strict=True):
            if tokens not in prefixes:
                prefixes[tokens] = np.full((len(visits), len(FEATURES)), np.nan)
            prefixes[tokens][row] = np.array(features, dtype=np.float64)
    return dict(sorted(prefixes.items()))
