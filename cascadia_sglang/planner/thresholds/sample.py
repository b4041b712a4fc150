"""A planner's sample: prompts that every tier answered, with scores, labels and lengths.

What thresholds would do that were never tried live is read from it. `cascadia calibrate` writes
one, of prompts that did not fit the scores.

Shape legend: N prompts, T tiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.files.struct_file import check_tiers, load_struct
from cascadia_sglang.planner.problem.problem import CalibrationRow
from cascadia_sglang.planner.thresholds.raking import INPUT_TOKENS, OUTPUT_TOKENS, SCORE
from cascadia_sglang.planner.thresholds.replay import Sample, build_sample


class SampleRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt that every tier answered."""

    scores: list[float]
    """Score of every tier but the last, in [0, 1]."""
    correct: list[float]
    """Whether each tier's answer is right, from 0 to 1."""
    input_tokens: int
    """Tokens of the prompt."""
    output_tokens: list[int]
    """Tokens of each tier's answer."""
    entry: list[float] = []
    """Probability that the entry model gives each tier but the last. Empty without a model."""
    prompt: str | None = None
    """Digest of the prompt. Rows of equal prompts share it."""

    def as_calibration(self) -> CalibrationRow:
        """What a problem file has of it."""
        return CalibrationRow(
            scores=self.scores, correct=self.correct, entry=self.entry, prompt=self.prompt
        )


class PlanSample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sample file of the planner."""

    version: int
    """Version of the file's form. Only 1 is allowed."""
    tiers: list[str]
    """Names of the tiers, smallest first."""
    rows: list[SampleRow]
    """The prompts, each answered by every tier."""

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version is {self.version}, allowed: 1")
        if len(self.tiers) < 2 or not self.rows:
            raise ValueError("needed: two tiers and a row, at least")
        count = len(self.tiers)
        for index, row in enumerate(self.rows):
            sizes = (len(row.scores), len(row.correct), len(row.output_tokens))
            if sizes != (count - 1, count, count):
                raise ValueError(
                    f"rows[{index}] has {sizes[0]} scores, {sizes[1]} correct and {sizes[2]} "
                    f"output_tokens; needed for {count} tiers: {count - 1}, {count} and {count}"
                )
            if len(row.entry) not in (0, count - 1):
                raise ValueError(f"rows[{index}].entry needs {count - 1} numbers, or none")
            if not all(0.0 <= number <= 1.0 for number in (*row.scores, *row.correct, *row.entry)):
                raise ValueError(f"rows[{index}]: scores, correct and entry are from 0 to 1")
            if min(row.input_tokens, *row.output_tokens) < 1:
                raise ValueError(f"rows[{index}]: lengths are from 1")

    def graded(self) -> Sample:
        """Scores and labels as arrays, every row of the same weight."""
        return build_sample([row.as_calibration() for row in self.rows])

    def entry_values(self) -> dict[str, FloatArray]:
        """What the first tier shows of every prompt, for `fit_window`, [N] each."""
        rows = self.rows
        return {
            SCORE: np.array([row.scores[0] for row in rows], np.float64),
            INPUT_TOKENS: np.array([row.input_tokens for row in rows], np.float64),
            OUTPUT_TOKENS: np.array([row.output_tokens[0] for row in rows], np.float64),
        }

    def output_tokens(self) -> IntArray:
        """Of every tier's answer, [N, T]."""
        return np.array([row.output_tokens for row in self.rows], np.int64)


def load_plan_sample(path: Path, tiers: Sequence[str]) -> PlanSample:
    """Read a sample for a cascade of these tiers.

    Raises:
        ConfigError: if the file is missing, does not fit or is of other tiers; names the place.
    """
    sample = load_struct(path, PlanSample, "planner sample")
    check_tiers(sample.tiers, tiers, f"planner sample {path}")
    return sample
