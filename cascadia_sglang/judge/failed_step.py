"""A step that an observer failed to read, on its way to the scheduler in place of its values.

The observer does not know whose tokens the step gives; the scheduler does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cascadia_sglang.judge.judge import Judge

if TYPE_CHECKING:
    from sglang.srt.managers.auxiliary_output import CommittedTokens
    from sglang.srt.managers.schedule_batch import ScheduleBatch

# Among the tensors of a pipeline stage.
_FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FailedStep:
    """The answers that got a token in the step have no score."""

    judge: Judge

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        return {_FAILED: torch.ones(1, dtype=torch.uint8)}

    def copy_to_host(self, copy_tensor: Callable[[torch.Tensor], torch.Tensor]) -> "FailedStep":
        del copy_tensor
        return self

    def consume(self, batch: "ScheduleBatch", commits: Sequence["CommittedTokens | None"]) -> None:
        self.judge.give_up(batch.reqs, commits)


def is_failed(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether what another pipeline stage sent is of a step that failed there."""
    return _FAILED in tensors
