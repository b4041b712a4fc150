"""A draft that a tier follows while it writes, found again after every difference. Pure.

Speculative decoding verifies a few proposed tokens in one step. A smaller tier's answer proposes
the tokens after the position that the larger tier has reached in it. Where the two answers part,
the position is found again by the last tokens written. Until then the guess is that tokens were
exchanged one for one. Where the draft proposes nothing, the request's own prompt and output do: the
tokens after the last position that reads like the end of the output (prompt look-up decoding,
https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from bisect import bisect
from collections.abc import Sequence

# Tokens by which a position of the draft is found: at least so many agree. Of several positions
# those win where more agree, up to the most.
LEAST_TOKENS, MOST_TOKENS = 2, 6
# Tokens by which a position of prompt and output is found, which are about more than the draft.
LOOK_UP_TOKENS = 3
# After a difference, so many tokens may have been exchanged one for one.
EXCHANGED_TOKENS = 4
# Of a prompt the last tokens, and of a draft the first ones, that are looked up: each takes a
# microsecond, between two steps.
LOOKED_UP_TOKENS = 8192
# Of the positions of a draft after the same tokens, so many that are nearest to the expected are
# compared: a draft that repeats itself has thousands, and all requests wait for a step.
COMPARED_POSITIONS = 64

_Key = tuple[int, ...]


class FollowedDraft:
    """One request's draft, and the position that its answer has reached in it.

    Attributes:
        kept_tokens: of the draft that were proposed and accepted.
    """

    def __init__(self, draft: Sequence[int], prompt: Sequence[int]) -> None:
        self.kept_tokens = 0
        self._draft = list(draft[:LOOKED_UP_TOKENS])
        self._position: int | None = 0
        self._is_guess = False
        # Of the last position that was right: from the answer's to the draft's, and where it ended.
        self._offset = 0
        self._parted = 0
        self._proposed: Sequence[int] = ()
        self._written = 0
        self._draft_positions: dict[_Key, list[int]] | None = None
        # Prompt and output. A position is known once the token there is: the end itself is none.
        self._text = list(prompt[-LOOKED_UP_TOKENS:])
        self._text_positions: dict[_Key, int] = {}
        self._indexed = LOOK_UP_TOKENS - 1

    def observe(self, output: Sequence[int], staged: Sequence[int] = ()) -> None:
        """Take the answer so far.

        Args:
            output: tokens of the answer.
            staged: those after them, which the scheduler has not added yet.
        """
        written = self._written
        run = [*output[written:], *staged[max(0, written - len(output)) :]]
        if not run:
            return
        # The last token of a run is the model's own.
        self.kept_tokens += _agreeing(self._proposed, run[:-1])
        self._proposed = ()
        if self._position is not None:
            agreeing = _agreeing(self._draft[self._position : self._position + len(run)], run)
            if agreeing:
                self._offset = self._position - written
            if agreeing or not self._is_guess:
                self._parted = written + agreeing
            self._position = self._position + agreeing if agreeing == len(run) else None
        self._written += len(run)
        self._text.extend(run)

    def propose(self, most: int) -> Sequence[int]:
        """The tokens that may come next, at most so many; empty where nothing is known."""
        if self._position is None or self._position >= len(self._draft):
            self._position = self._found_again()
            self._is_guess = self._position is None
        if self._position is None:
            self._position = self._guessed()
        if self._position is not None:
            self._proposed = self._draft[self._position : self._position + most]
            return self._proposed
        return self._looked_up(most)

    def _found_again(self) -> int | None:
        """The position in the draft after tokens like the last ones, nearest to the expected."""
        if self._written < LEAST_TOKENS:
            return None
        if self._draft_positions is None:
            self._draft_positions = {}
            for position in range(LEAST_TOKENS, len(self._draft)):
                key = tuple(self._draft[position - LEAST_TOKENS : position])
                self._draft_positions.setdefault(key, []).append(position)
        positions = self._draft_positions.get(tuple(self._text[-LEAST_TOKENS:]))
        if not positions:
            return None
        expected = self._written + self._offset
        middle = bisect(positions, expected)
        half = COMPARED_POSITIONS // 2
        near = positions[max(0, middle - half) : middle + half]
        return min(near, key=lambda position: (-self._alike(position), abs(position - expected)))

    def _guessed(self) -> int | None:
        """The position in the draft if the tokens since the last difference were exchanged."""
        position = self._written + self._offset
        is_near = self._written - self._parted <= EXCHANGED_TOKENS
        return position if is_near and 0 <= position < len(self._draft) else None

    def _alike(self, position: int) -> int:
        """How many tokens before a position of the draft are the last ones of the answer."""
        most = min(MOST_TOKENS, position, self._written)
        tokens = zip(
            self._draft[position - most : position][::-1], self._text[: -most - 1 : -1], strict=True
        )
        count = 0
        for draft_token, written in tokens:
            if draft_token != written:
                break
            count += 1
        return count

    def _looked_up(self, most: int) -> Sequence[int]:
        """The tokens after the last position of prompt and output that reads like their end."""
        text = self._text
        while self._indexed + 1 < len(text):
            self._indexed += 1
            key = tuple(text[self._indexed - LOOK_UP_TOKENS : self._indexed])
            self._text_positions[key] = self._indexed
        position = self._text_positions.get(tuple(text[-LOOK_UP_TOKENS:]))
        return () if position is None else text[position : position + most]


def _agreeing(proposed: Sequence[int], tokens: Sequence[int]) -> int:
    """How many of the first tokens are as proposed."""
    count = 0
    for expected, token in zip(proposed, tokens, strict=False):
        if expected != token:
            break
        count += 1
    return count
