"""Which rows of a batch tell something of which drafts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cascadia_sglang.verify.reading import Reading


@dataclass(frozen=True, slots=True)
class Part:
    """What a batch computes of a draft.

    Attributes:
        index: of the request in the batch.
        places: of the draft.
        first_row: of the batch's hidden states, where the first of these places is told.
        is_last: whether the batch computes the draft's last token.
    """

    index: int
    reading: Reading
    places: range
    first_row: int
    is_last: bool

    @property
    def rows(self) -> range:
        """The rows of the batch's hidden states where the places are told."""
        return range(self.first_row, self.first_row + len(self.places))

    def cut(self, places: int) -> tuple["Part", "Part"]:
        """The first places, and the rest."""
        return (
            Part(self.index, self.reading, self.places[:places], self.first_row, is_last=False),
            Part(
                self.index,
                self.reading,
                self.places[places:],
                self.first_row + places,
                self.is_last,
            ),
        )


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """The requests of a batch, in the order of its rows.

    Attributes:
        rids: of the requests.
        prefix_lens: tokens of each that were computed before; `lens` are computed now.
    """

    rids: Sequence[str]
    prefix_lens: Sequence[int]
    lens: Sequence[int]

    def parts(self, unread: Mapping[str, Reading], rows: int) -> list[Part]:
        """The drafts of which the batch computes something, be it the last token alone.

        Args:
            unread: readings by request id.
            rows: hidden states that there are.

        Raises:
            ValueError: if the requests do not fit each other or the rows.
        """
        if sum(self.lens) > rows:
            raise ValueError(f"a batch of {sum(self.lens)} tokens has {rows} hidden states")
        parts: list[Part] = []
        start = 0
        for index, (rid, prefix, length) in enumerate(
            zip(self.rids, self.prefix_lens, self.lens, strict=True)
        ):
            reading = unread.get(rid)
            if reading is not None:
                draft = reading.draft
                places = draft.places(prefix, length)
                first_row = start + draft.prompt_tokens - 1 - prefix + places.start
                is_last = prefix + length >= draft.prompt_tokens + len(draft.token_ids)
                if places or is_last:
                    parts.append(Part(index, reading, places, first_row, is_last))
            start += length
        return parts


def first_rows(parts: Sequence[Part], most: int) -> tuple[list[Part], list[Part]]:
    """The parts of the first rows, no more than `most`, and what is left."""
    chunk: list[Part] = []
    for index, part in enumerate(parts):
        if len(part.places) <= most:
            chunk.append(part)
            most -= len(part.places)
            continue
        if most == 0:
            return chunk, list(parts[index:])
        head, rest = part.cut(most)
        return [*chunk, head], [rest, *parts[index + 1 :]]
    return chunk, []
