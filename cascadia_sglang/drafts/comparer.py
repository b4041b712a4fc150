"""Compares the drafts of a worker's batches with its model's logits, in bounded chunks."""

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.drafts.batch_parts import DraftPart, first_rows
from cascadia_sglang.drafts.second_judge import DraftJudge
from cascadia_sglang.drafts.session import DraftSession
from cascadia_sglang.drafts.token_agreement import Comparison, compare, upload
from cascadia_sglang.judge.draft_step import draft_values
from cascadia_sglang.judge.judge import Judge

logger = logging.getLogger(__name__)

# Places whose logits are in memory at once: with 152,000 tokens, 0.3 GB in bf16 and 0.6 GB in
# float32. The number is fixed: all ranks of a worker have to compute the same chunks.
CHUNK_ROWS = 1024

# Logits [n, V] of hidden states [n, D].
LogitsOf = Callable[[torch.Tensor], torch.Tensor]


class DraftComparer:
    """Runs comparisons on the device and hands their results to the readings."""

    def __init__(self, judge: Judge | None, second: DraftJudge) -> None:
        """`judge` and `second` as a `DraftReader` has them."""
        self._second = second
        self._has_judge = judge is not None
        self._failure_log = judge or Judge({})
        self._computing: list[tuple[Comparison, list[DraftPart]]] = []

    def compare(
        self, parts: list[DraftPart], hidden_states_TD: torch.Tensor, logits_of: LogitsOf
    ) -> None:
        """Start to compare a batch's parts of drafts, chunk by chunk.

        Waits for the device before every chunk but the first. Waits at the end for drafts that the
        second judge rates, because their score decides which token is sampled.
        """
        for part in parts:
            if part.places.start == 0:
                part.reading.restart()
        waiting = [part for part in parts if part.places]
        while True:
            # The previous chunk decides which places still matter.
            self.collect_results()
            chunk, waiting = first_rows(list(filter(self._matters, waiting)), CHUNK_ROWS)
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
            self.collect_results()

    def drop(self) -> None:
        """Forget the comparisons under way."""
        self._computing.clear()

    def _matters(self, part: DraftPart) -> bool:
        """Whether a part's places can still change the result of its draft."""
        reading = part.reading
        if reading.has_failed:
            return False
        return not reading.has_diverged() or reading.is_rated(self._second)

    def _values(
        self, logits_nV: npt.NDArray[np.float32], token_ids_n: npt.NDArray[np.int64]
    ) -> FloatArray | None:
        try:
            return draft_values(logits_nV, token_ids_n)
        except Exception as error:  # noqa: BLE001  an answer without a score beats no answer
            self._failure_log.report_failure(error)
            return None

    def collect_results(self) -> None:
        """Wait for the comparisons under way, and rate the drafts that they complete.

        Never raises: a draft whose result is lost has failed.
        """
        computing, self._computing = self._computing, []
        for comparison, parts in computing:
            try:
                results = zip(parts, comparison.results(), comparison.next_logits_GV, strict=True)
                for part, compared, logits_V in results:
                    part.reading.add_result(part.places, compared, logits_V)
                    if part.places.stop == len(part.reading.draft.token_ids):
                        self._rate(part.reading)
            except Exception:
                logger.exception("comparisons of drafts were lost")
                for part in parts:
                    part.reading.has_failed = True

    def _rate(self, reading: DraftSession) -> None:
        try:
            reading.rate(self._second)
        except Exception as error:  # noqa: BLE001  a draft that is not rated is still read
            self._failure_log.report_failure(error)
