"""One judged request: its score model, its progress, and its next rating."""

from dataclasses import dataclass
from typing import Any

from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.judge.state import StateRow
from cascadia_sglang.messages import AttemptOrder, JudgeReport


@dataclass(slots=True)
class JudgedAttempt:
    """What the judge knows of one request.

    Attributes:
        model: None where the answer is only recorded.
        tokens: of the answer, that were folded into the state.
        checkpoint: the number of tokens at which it is rated next; 0 where its end is next.
        record: features on the way; None where they are not recorded.
        records_every_token: whether they are recorded after each token.
        report: of its end.
        on_the_way: the commitment to it, or its chance where that is told.
    """

    order: AttemptOrder
    model: ScoreModel | None
    row: StateRow
    tokens: int = 0
    checkpoint: int = 0
    record: dict[str, Any] | None = None
    records_every_token: bool = False
    report: JudgeReport | None = None
    on_the_way: JudgeReport | None = None

    @property
    def is_committed(self) -> bool:
        return self.on_the_way is not None and self.on_the_way.committed

    @property
    def is_open(self) -> bool:
        """Whether there is still something to say of the attempt, or to do to it."""
        order = self.order
        is_asked = order.early_abort is not None or order.commit_tokens is not None
        return (is_asked or order.tells_chance) and not self.is_committed

    def set_checkpoint(self) -> None:
        """Find the next number of tokens at which the attempt is rated.

        One that is recorded is rated at the powers of two from 2 on, or after each token; any other
        at the checkpoints of its model, while it is open.
        """
        if self.records_every_token:
            self.checkpoint = self.tokens + 1
            return
        checkpoint = 0
        if self.model is not None and self.is_open:
            checkpoint = self.model.next_checkpoint(self.tokens)
        if self.record is not None and checkpoint != 1:
            checkpoint = max(2, 1 << self.tokens.bit_length())
        self.checkpoint = checkpoint
