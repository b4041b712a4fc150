"""Which tiers a request visits, and how much it writes at each.

Shape legend: R requests, T tiers, N prompts of a calibration sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascadia_sglang.acceptance import accepts
from cascadia_sglang.arrays import IntArray
from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The way of every request.

    Attributes:
        first_tier_R, last_tier_R: it visits the tiers from the one to the other; the last answers.
        tokens_RT: generated at a tier until the answer ends by itself or the judge ends it; at
            least 1 where the tier is visited.
        limit_tokens_R: the client's `max_new_tokens`, which admission to a batch reserves for.
        draft_tokens_R: of an answer that each request comes with, for its first tier to read where
            that reads drafts; None for none. Every further tier may read the answer before its own.
    """

    first_tier_R: IntArray
    last_tier_R: IntArray
    tokens_RT: IntArray
    limit_tokens_R: IntArray
    draft_tokens_R: IntArray | None = None


def direct_paths(workload: Workload, limit_tokens: int | None = None) -> Paths:
    """One tier answers everything, at the workload's own lengths.

    Args:
        limit_tokens: of every request; by default its own length, as a benchmark that ignores the
            end of an answer asks for.
    """
    count = len(workload)
    tokens = workload.output_tokens_R
    return Paths(
        first_tier_R=np.zeros(count, np.int64),
        last_tier_R=np.zeros(count, np.int64),
        tokens_RT=tokens[:, None].copy(),
        limit_tokens_R=tokens.copy() if limit_tokens is None else np.full(count, limit_tokens),
    )


def climbing_paths(
    scores_RT: npt.ArrayLike,
    tokens_RT: npt.ArrayLike,
    thresholds: Sequence[float],
    limit_tokens: int,
    *,
    abort_tokens_RT: npt.ArrayLike | None = None,
) -> Paths:
    """What the policy makes of known scores: a score of at least the threshold accepts.

    Args:
        scores_RT: each tier's score of its own answer; the last tier's decides nothing.
        tokens_RT: of each tier's whole answer.
        thresholds: one a tier but the last.
        abort_tokens_RT: tokens after which the judge gives an attempt up, 0 where it does not; such
            an attempt never answers, and writes no more.

    Raises:
        WorkloadError: if shapes differ, a score or threshold is not finite, or a length is below 1.
    """
    scores, tokens = np.asarray(scores_RT, float), np.asarray(tokens_RT, np.int64)
    if scores.ndim != 2 or scores.shape != tokens.shape or scores.shape[1] != len(thresholds) + 1:
        raise WorkloadError(
            f"scores {scores.shape}, tokens {tokens.shape} and {len(thresholds)} thresholds differ"
        )
    if not np.isfinite(scores[:, :-1]).all() or not np.isfinite(thresholds).all():
        raise WorkloadError("a score or a threshold is not finite")
    if (tokens < 1).any():
        raise WorkloadError("an answer has no token")
    is_accepted = accepts(scores, np.array([*thresholds, -np.inf]))
    if abort_tokens_RT is not None:
        aborts = np.asarray(abort_tokens_RT, np.int64)
        is_aborted = (aborts > 0) & (aborts <= tokens)
        is_aborted[:, -1] = False
        tokens = np.where(is_aborted, aborts, tokens)
        is_accepted &= ~is_aborted
    return Paths(
        first_tier_R=np.zeros(len(scores), np.int64),
        last_tier_R=is_accepted.argmax(axis=1).astype(np.int64),
        tokens_RT=tokens,
        limit_tokens_R=np.full(len(scores), limit_tokens, np.int64),
    )


def select_paths(paths: Paths, chosen_R: IntArray) -> Paths:
    """The paths of some requests, in this order."""
    return Paths(
        first_tier_R=paths.first_tier_R[chosen_R],
        last_tier_R=paths.last_tier_R[chosen_R],
        tokens_RT=paths.tokens_RT[chosen_R],
        limit_tokens_R=paths.limit_tokens_R[chosen_R],
    )


def shared_paths(
    workload: Workload,
    shares: Sequence[float],
    lengths: Sequence[float],
    limit_tokens: int | None,
    seed: int,
) -> Paths:
    """Paths of requests whose scores are not known: so many reach each tier, drawn by chance.

    Args:
        shares: of the requests that reach each tier, 1 first and never rising.
        lengths: of each tier's answers, relative to the workload's.
        limit_tokens: None for the longest of a request's own answers.
    """
    tokens = np.maximum(1, np.rint(np.outer(workload.output_tokens_R, lengths))).astype(np.int64)
    luck_R = np.random.default_rng(seed).random(len(workload))
    last_R = (luck_R[:, None] < np.array(shares)).sum(axis=1) - 1
    limits = tokens.max(axis=1) if limit_tokens is None else np.full(len(tokens), limit_tokens)
    return Paths(
        first_tier_R=np.zeros(len(workload), np.int64),
        last_tier_R=last_R.astype(np.int64),
        tokens_RT=tokens,
        limit_tokens_R=limits,
    )
