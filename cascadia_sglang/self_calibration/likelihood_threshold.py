"""Chooses how likely an answer must be under the last tier to count as one that it agrees with.

Long answers never repeat word by word. Short ones do, so on them the words say what likelihood
goes along with agreement; the threshold is the one whose labels differ least from theirs.

Shape legend: N short answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.self_calibration.label import DEFAULT_LIKELY, Label

# Short answers of each kind, agreeing and differing, that a choice needs.
MIN_KIND = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Likely:
    """The threshold in use.

    Attributes:
        threshold: least mean log-probability of an answer that the last tier agrees with.
        short: short answers that it was chosen on; 0 for the default.
        same: weighted share of them whose words say the same as it does; None for the default.
    """

    threshold: float
    short: int
    same: float | None


def choose_likely(labels: Sequence[Label]) -> Likely:
    """The threshold at which the likelihood agrees most often with the words.

    Of several that do as well it is the middle of the first gap between likelihoods.
    """
    compared = [
        (visit.likelihood, visit.same, label.weight)
        for label in labels
        for visit in label.visits
        if visit.likelihood is not None and visit.same is not None
    ]
    agreeing = sum(same for _, same, _ in compared)
    if min(agreeing, len(compared) - agreeing) < MIN_KIND:
        return Likely(threshold=DEFAULT_LIKELY, short=0, same=None)
    compared.sort(key=lambda entry: entry[0])
    likelihood_N = np.array([likelihood for likelihood, _, _ in compared])
    weight_N = np.array([weight for _, _, weight in compared])
    signed_N = np.where([same for _, same, _ in compared], weight_N, -weight_N)
    # With the threshold above the first k answers, those must differ and the rest agree.
    gained = np.concatenate(([0.0], np.cumsum(-signed_N)))
    # Equal likelihoods are on one side.
    may_cut = np.concatenate(([True], np.diff(likelihood_N) > 0.0, [True]))
    best = int(np.argmax(np.where(may_cut, gained, -np.inf)))
    if best == 0:
        threshold = float(likelihood_N[0])
    elif best == len(compared):
        threshold = float(np.nextafter(likelihood_N[-1], np.inf))
    else:
        threshold = float((likelihood_N[best - 1] + likelihood_N[best]) / 2)
    right = float(weight_N[signed_N > 0].sum() + gained[best])
    return Likely(threshold=threshold, short=len(compared), same=right / float(weight_N.sum()))
