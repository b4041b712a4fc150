"""Runs an exported tier greedily and keeps what the judge would have seen of every answer.

Shape legend: N rows, S state columns, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.ladder.decode import Step, batches, decode_steps, load_model, texts
from bench.ladder.evaluate import MAX_TOKENS
from bench.ladder.families import Row, is_correct
from bench.ladder.tokenizer import EOS_ID
from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.row_statistics import row_statistics
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge import state
from cascadia_sglang.judge.features import features
from cascadia_sglang.judge.state import NO_ROW, empty_states, fold_step

CHECKPOINTS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Judge states of N answers, at their end and after each checkpoint's tokens.

    Attributes:
        text_N: the answers; None where they were not kept.
    """

    final_NS: FloatArray
    prefix_NS: dict[int, FloatArray]
    prompt_tokens_N: FloatArray
    truncated_N: FloatArray
    correct_N: npt.NDArray[np.bool_]
    text_N: npt.NDArray[np.str_] | None = None

    def features(self) -> FloatArray:
        """Base features of the finished answers, [N, F]."""
        return features(self.final_NS, self.prompt_tokens_N, self.truncated_N)

    def prefix_features(self, tokens: int) -> FloatArray:
        """Base features after `tokens` tokens of the answers that ran longer, in their order."""
        rows_N = self.longer_than(tokens)
        return features(
            self.prefix_NS[tokens][rows_N],
            self.prompt_tokens_N[rows_N],
            np.zeros(int(rows_N.sum())),
        )

    def longer_than(self, tokens: int) -> npt.NDArray[np.bool_]:
        """Which answers still ran after `tokens` tokens."""
        longer: npt.NDArray[np.bool_] = self.final_NS[:, state.COUNT] > tokens
        return longer


def observe(folder: Path, rows: Sequence[Row]) -> Observation:
    """Decode every row greedily with a tier, folding each step into the row's state."""
    model = load_model(folder)
    final_NS = empty_states(len(rows))
    prefix_NS = {tokens: empty_states(len(rows)) for tokens in CHECKPOINTS}
    correct_N = np.zeros(len(rows), dtype=bool)
    answers = [""] * len(rows)
    ended_N = np.zeros(len(rows), dtype=bool)
    for batch in batches(rows):
        indices = np.array(batch)
        steps = []
        for step in decode_steps(model, [rows[i].prompt for i in batch], MAX_TOKENS):
            active = step.active_B.numpy()
            fold_step(final_NS, indices[active], np.flatnonzero(active), _step_values(step), NO_ROW)
            steps.append(step)
            if len(steps) in CHECKPOINTS:
                prefix_NS[len(steps)][indices] = final_NS[indices]
            ended_N[indices] |= (step.tokens_B == EOS_ID).numpy() & active
        for index, text in zip(batch, texts(steps), strict=True):
            correct_N[index] = is_correct(rows[index], text)
            answers[index] = text
    return Observation(
        final_NS=final_NS,
        prefix_NS=prefix_NS,
        prompt_tokens_N=np.array([len(row.prompt) + 1.0 for row in rows]),
        truncated_N=(~ended_N).astype(float),
        correct_N=correct_N,
        text_N=np.array(answers),
    )


def _step_values(step: Step) -> FloatArray:
    """Step values [B, 5] of a greedy step, which no temperature touches."""
    statistics = row_statistics(step.logits_BV)
    temperature_B = step.logits_BV.new_ones(len(step.logits_BV))
    values_BS = fold_sampled(statistics, step.tokens_B, None, temperature_B)
    values: FloatArray = values_BS.double().numpy()
    return values
