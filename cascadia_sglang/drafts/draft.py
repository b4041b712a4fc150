"""How far a larger tier agrees with a smaller tier's answer. Pure.

Greedily decoded, the larger tier's own answer is the draft up to the first place at which it
prefers another token, then that token. One forward over prompt and draft gives its preference at
every place (speculative decoding's verification, Leviathan et al., 2211.17192, section 2, at
temperature 0; speculative cascades, 2405.19261).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Draft:
    """The draft of one request, read place by place.

    Attributes:
        prompt_tokens: of the prompt before it.
        token_ids: at least one; none but the last ends the answer.
        agreed: number of leading tokens that the tier prefers too; never all of them, because the
            last one is sampled again, from the same forward.
        preferred: the tier's own token after these; None until it is known.
        is_settled: whether the request continues from there.
    """

    prompt_tokens: int
    token_ids: tuple[int, ...]
    agreed: int = 0
    preferred: int | None = None
    is_settled: bool = False

    def places(self, first_position: int, positions: int) -> range:
        """The draft's places whose preferred token a forward over these positions computes.

        The position before a place predicts its token.

        Args:
            first_position: in prompt and draft together.
        """
        first = first_position - self.prompt_tokens + 1
        begin, end = max(0, first), min(len(self.token_ids), first + positions)
        return range(begin, max(begin, end))

    def at(self, places: range) -> tuple[int, ...]:
        """The draft's tokens at some places."""
        return self.token_ids[places.start : places.stop]

    def restart(self) -> None:
        """Forget the results: the request is prefilled again from its first place."""
        self.agreed, self.preferred = 0, None

    def read(self, places: range, agreed: int, preferred: int | None) -> None:
        """Add how far the tier agrees at some places.

        Args:
            places: of a forward, in order.
            agreed: number of leading places that hold the token that the tier prefers.
            preferred: its token at the next place; None where all places agree.
        """
        if self.preferred is not None or places.start != self.agreed:
            return
        self.agreed += agreed
        if agreed < len(places):
            self.preferred = preferred
        elif self.agreed == len(self.token_ids):
            self.agreed -= 1
            self.preferred = self.token_ids[-1]

    def confirm(self) -> None:
        """Keep the whole draft, whatever the tier prefers."""
        self.agreed = len(self.token_ids) - 1
        self.preferred = self.token_ids[-1]

    @property
    def kept_tokens(self) -> int:
        """Tokens of the draft that are in the tier's answer."""
        return self.agreed + (self.preferred == self.token_ids[self.agreed])


def until_end(token_ids: Sequence[int], end_ids: frozenset[int], most: int) -> tuple[int, ...]:
    """A draft up to its first token that ends an answer, at most `most` tokens."""
    draft = token_ids[: max(0, most)]
    for index, token in enumerate(draft):
        if token in end_ids:
            return tuple(draft[: index + 1])
    return tuple(draft)


def known_tokens(token_ids: Sequence[int], vocabulary: int | None) -> Sequence[int]:
    """A draft up to its first token that the model does not have: one such id ends the worker.

    The embedding of another model may have more rows than the tokenizer that both share.

    Args:
        vocabulary: rows of the model's embedding; None where they are not known.
    """
    if vocabulary is None or not token_ids or 0 <= min(token_ids) <= max(token_ids) < vocabulary:
        return token_ids
    strange = next(i for i, token in enumerate(token_ids) if not 0 <= token < vocabulary)
    return token_ids[:strange]
