"""The known name nearest to one that is not known, for errors."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """`, did you mean X?` where a known name is near, else an empty text."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {by_lower[near[0]]}?" if near else ""
