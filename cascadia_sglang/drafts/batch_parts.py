"""Which rows of a batch belong to which drafts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cascadia_sglang.drafts.session import DraftSession


@dataclass(frozen=True, slots=True)
class DraftPart:
    """The part of a draft that a batch computes.

    Attributes:
        index: of the request in the batch.
        places: of the draft.
        first_row: of the batch's hidden states, the row that predicts the first of these places.
        is_last: whether the batch computes the draft's last token.
    """

    index: int
    reading: DraftSession
    places: range
    first_row: int
    is_last: bool

    @property
    def rows(self) -> range:
        """The rows of the batch's hidden states that predict the places."""
        return range(self.first_row, self.first_row + len(self.places))

    def cut(self, places: int) -> tuple["DraftPart", "DraftPart"]:
        """The first places, and the rest."""
        return (
            DraftPart(
                self.index, self.reading, self.places[:places], self.first_row, is_last=False
            ),
            DraftPart(
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

    def parts(self, unread: Mapping[str, DraftSession], rows: int) -> list[DraftPart]:
        """The part of every draft that the batch computes, if only its last token.

        Args:
            unread: readings by request id.
            rows: number of hidden states.

        Raises:
            ValueError: if the lengths do not match each other or the rows.
        """
        if sum(self.lens) > rows:
            raise ValueError(f"a batch of {sum(self.lens)} tokens has {rows} hidden states")
        parts: list[DraftPart] = []
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
                    parts.append(DraftPart(index, reading, places, first_row, is_last))
            start += length
        return parts


def first_rows(parts: Sequence[DraftPart], most: int) -> tuple[list[DraftPart], list[DraftPart]]:
    """The parts of the first rows, at most `most`, and the remaining parts."""
    chunk: list[DraftPart] = []
    for index, part in enumerate(parts):
        if len(part.places) <= most:
            chunk.append(part)
            most -= len(part.places)
            continue
        if most == 0:
            return chunk, list(parts[index:])
        head, tail = part.cut(most)
        return [*chunk, head], [tail, *parts[index + 1 :]]
    return chunk, []
