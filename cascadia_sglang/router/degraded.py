"""What goes out where no answer was accepted, and the client takes a lesser one."""

from collections.abc import Iterable

from cascadia_sglang.errors import RequestError
from cascadia_sglang.router.attempt import Attempt


def best_complete(attempts: Iterable[Attempt]) -> Attempt | None:
    """The finished answer with the best score; None without one.

    Ranks of different tiers do not compare: with one among them, the largest tier's answer.
    """
    complete = [a for a in attempts if _is_complete(a) and a.score is not None]
    if any(attempt.calibrated is False for attempt in complete):
        return max(complete, key=lambda attempt: attempt.tier_index)
    return max(complete, key=lambda attempt: attempt.score or 0.0, default=None)


def best_of(attempts: Iterable[Attempt]) -> Attempt | None:
    """The answer to serve: a finished one by its score, one without, the longest that was cut off.

    One that was cut off says so: its finish reason becomes `length`.
    """
    attempts = list(attempts)
    best = best_complete(attempts)
    unrated = [a for a in attempts if _is_complete(a)]
    if best is not None or unrated:
        return best or unrated[-1]
    partial = [a for a in attempts if a.outputs and not _is_complete(a) and a.longest > 0]
    longest = max(partial, key=lambda attempt: attempt.longest, default=None)
    if longest is not None:
        for output in longest.outputs:
            meta = output["meta_info"]
            if (meta.get("finish_reason") or {}).get("type") == "abort":
                length = meta.get("completion_tokens", 0)
                meta["finish_reason"] = {"type": "length", "length": length}
    return longest


def _is_complete(attempt: Attempt) -> bool:
    return bool(attempt.outputs) and not attempt.early_abort and not attempt.is_cut


def cut_short(error: Exception) -> RequestError:
    """A stream that cannot be completed ends with an error; what was seen stays as it is."""
    if isinstance(error, TimeoutError):
        return RequestError(504, "deadline passed; the answer is incomplete")
    return RequestError(503, f"{error}; the answer is incomplete")
