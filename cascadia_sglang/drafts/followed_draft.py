"""A draft that a tier follows while it writes, found again after every difference. Pure.

Speculative decoding verifies a few proposed tokens in one step. A smaller tier's answer proposes
the tokens after the place that the larger tier has reached in it. Where the two answers part, the
place is found again by the last tokens written. Until then the guess is that tokens were exchanged
one for one. Where the draft proposes nothing, the request's own prompt and output do: the tokens
after the last place that reads like the end of the output (prompt look-up decoding,
https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from bisect import bisect
from collections.abc import Sequence

# Tokens by which a place of the draft is found: at least so many agree. Of several places those win
# where more agree, up to the most.
LEAST_TOKENS, MOST_TOKENS = 2, 6
# Tokens by which a place of prompt and output is found, which are about more than the draft.
LOOK_UP_TOKENS = 3
# After a difference, so many tokens may have been exchanged one for one.
EXCHANGED_TOKENS = 4
# Of a prompt the last tokens, and of a draft the first ones, that are looked up: each takes a
# microsecond, between two steps.
LOOKED_UP_TOKENS = 8192
# Of the places of a draft after the same tokens, so many that are nearest to the expected are
# compared: a draft that repeats itself has thousands, and all requests wait for a step.
COMPARED_PLACES = 64

_Key = tuple[int, ...]


class FollowedDraft:
    """One request's draft, and the place that its answer has reached in it.

    Attributes:
        kept: tokens of the draft that were proposed and accepted.
    """

    def __init__(self, draft: Sequence[int], prompt: Sequence[int]) -> None:
        self.kept = 0
        self._draft = list(draft[:LOOKED_UP_TOKENS])
        self._place: int | None = 0
        self._is_guess = False
        # Of the last place that was right: from the answer's to the draft's, and where it ended.
        self._offset = 0
        self._parted = 0
        self._proposed: Sequence[int] = ()
        self._written = 0
        self._draft_places: dict[_Key, list[int]] | None = None
        # Prompt and output. A place is known once the token there is: the end itself is none.
        self._text = list(prompt[-LOOKED_UP_TOKENS:])
        self._text_places: dict[_Key, int] = {}
        self._indexed = LOOK_UP_TOKENS - 1

    def observe(self, output: Sequence[int], staged: Sequence[int] = ()) -> None:
        """Take the answer so far.

        Args:
            output: tokens of the answer.
            staged: those after them, which the scheduler has not added yet.
        """
        known = self._written
        run = [*output[known:], *staged[max(0, known - len(output)) :]]
        if not run:
            return
        # The last token of a run is the model's own.
        self.kept += _agreeing(self._proposed, run[:-1])
        self._proposed = ()
        if self._place is not None:
            agreeing = _agreeing(self._draft[self._place : self._place + len(run)], run)
            if agreeing:
                self._offset = self._place - known
            if agreeing or not self._is_guess:
                self._parted = known + agreeing
            self._place = self._place + agreeing if agreeing == len(run) else None
        self._written += len(run)
        self._text.extend(run)

    def propose(self, most: int) -> Sequence[int]:
        """The tokens that may come next, at most so many; empty where nothing is known."""
        if self._place is None or self._place >= len(self._draft):
            self._place = self._found_again()
            self._is_guess = self._place is None
        if self._place is None:
            self._place = self._guessed()
        if self._place is not None:
            self._proposed = self._draft[self._place : self._place + most]
            return self._proposed
        return self._looked_up(most)

    def _found_again(self) -> int | None:
        """The place in the draft after tokens like the last ones; the nearest to the expected."""
        if self._written < LEAST_TOKENS:
            return None
        if self._draft_places is None:
            self._draft_places = {}
            for place in range(LEAST_TOKENS, len(self._draft)):
                key = tuple(self._draft[place - LEAST_TOKENS : place])
                self._draft_places.setdefault(key, []).append(place)
        places = self._draft_places.get(tuple(self._text[-LEAST_TOKENS:]))
        if not places:
            return None
        expected = self._written + self._offset
        middle = bisect(places, expected)
        half = COMPARED_PLACES // 2
        near = places[max(0, middle - half) : middle + half]
        return min(near, key=lambda place: (-self._alike(place), abs(place - expected)))

    def _guessed(self) -> int | None:
        """The place in the draft if the tokens since the last difference were exchanged."""
        place = self._written + self._offset
        is_near = self._written - self._parted <= EXCHANGED_TOKENS
        return place if is_near and 0 <= place < len(self._draft) else None

    def _alike(self, place: int) -> int:
        """How many tokens before a place of the draft are the last ones of the answer."""
        most = min(MOST_TOKENS, place, self._written)
        tokens = zip(
            self._draft[place - most : place][::-1], self._text[: -most - 1 : -1], strict=True
        )
        count = 0
        for own, written in tokens:
            if own != written:
                break
            count += 1
        return count

    def _looked_up(self, most: int) -> Sequence[int]:
        """The tokens after the last place of prompt and output that reads like their end."""
        text = self._text
        while self._indexed + 1 < len(text):
            self._indexed += 1
            key = tuple(text[self._indexed - LOOK_UP_TOKENS : self._indexed])
            self._text_places[key] = self._indexed
        place = self._text_places.get(tuple(text[-LOOK_UP_TOKENS:]))
        return () if place is None else text[place : place + most]


def _agreeing(proposed: Sequence[int], tokens: Sequence[int]) -> int:
    """How many of the first tokens are as proposed."""
    count = 0
    for own, token in zip(proposed, tokens, strict=False):
        if own != token:
            break
        count += 1
    return count
