"""Compares the drafts of a worker's batches with what its model prefers, in bounded chunks."""

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.draft_step import draft_values
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.verify.batch_parts import Part, first_rows
from cascadia_sglang.verify.compare import Comparison, compare, upload
from cascadia_sglang.verify.confirm import DraftJudge
from cascadia_sglang.verify.reading import Reading

logger = logging.getLogger(__name__)

# Places whose logits are in memory at once: with 152,000 tokens, 0.3 GB in bf16 and 0.6 GB in
# float32. The number is fixed: all ranks of a worker have to compute the same chunks.
CHUNK_ROWS = 1024

# Logits [n, V] of hidden states [n, D].
LogitsOf = Callable[[torch.Tensor], torch.Tensor]


class DraftComparer:
    """What is being compared on the device, and what it tells the readings."""

    def __init__(self, judge: Judge | None, second: DraftJudge) -> None:
        """`judge` and `second` as a `DraftReader` has them."""
        self._second = second
        self._has_judge = judge is not None
        self._told_of_failures = judge or Judge({})
        self._computing: list[tuple[Comparison, list[Part]]] = []

    def compare(
        self, parts: list[Part], hidden_states_TD: torch.Tensor, logits_of: LogitsOf
    ) -> None:
        """Begin to compare what a batch computes of drafts, chunk by chunk.

        Waits for the device before every chunk but the first, and for drafts that are rated: their
        score decides what is sampled.
        """
        for part in parts:
            if part.places.start == 0:
                part.reading.begin_anew()
        waiting = [part for part in parts if part.places]
        while True:
            # Which places still tell something is known once the chunk before is compared.
            self.take_in_results()
            chunk, waiting = first_rows(list(filter(self._tells, waiting)), CHUNK_ROWS)
            if not chunk:
                break
            places = upload(
                [part.rows for part in chunk],
                [part.reading.draft.at(part.places) for part in chunk],
                hidden_states_TD.device,
            )
            logits_nV = logits_of(hidden_states_TD.index_select(0, places.rows_n))
            wants_values = self._has_judge or any(
                part.reading.is_rated(self._second) for part in chunk
            )
            comparison = compare(logits_nV, places, self._values if wants_values else None)
            for part, logits_V in zip(chunk, comparison.next_logits_GV, strict=True):
                part.reading.computing_logits_V = logits_V
            self._computing.append((comparison, chunk))
            if not waiting:
                break
        if any(part.is_last and part.reading.is_rated(self._second) for part in parts):
            self.take_in_results()

    def drop(self) -> None:
        """Forget what is being compared."""
        self._computing.clear()

    def _tells(self, part: Part) -> bool:
        """Whether a part's places still tell something of its draft."""
        reading = part.reading
        if reading.has_failed:
            return False
        return not reading.is_parted() or reading.is_rated(self._second)

    def _values(
        self, logits_nV: npt.NDArray[np.float32], token_ids_n: npt.NDArray[np.int64]
    ) -> FloatArray | None:
        try:
            return draft_values(logits_nV, token_ids_n)
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._told_of_failures.report_failure(error)
            return None

    def take_in_results(self) -> None:
        """Wait for what is being compared, and rate the drafts that are read whole by it.

        Never raises: a draft of which something is lost has failed.
        """
        computing, self._computing = self._computing, []
        for comparison, parts in computing:
            try:
                results = zip(parts, comparison.results(), comparison.next_logits_GV, strict=True)
                for part, compared, logits_V in results:
                    part.reading.take_in(part.places, compared, logits_V)
                    if part.places.stop == len(part.reading.draft.token_ids):
                        self._rate(part.reading)
            except Exception:
                logger.exception("what was compared of drafts was lost")
                for part in parts:
                    part.reading.has_failed = True

    def _rate(self, reading: Reading) -> None:
        try:
            reading.rate(self._second)
        except Exception as error:  # noqa: BLE001  a draft that is not rated is still read
            self._told_of_failures.report_failure(error)
