"""A problem for the planner out of a sample that every tier of a calibrated cascade has answered.

Shape legend: N prompts, T tiers.
"""

from collections.abc import Sequence

import numpy as np

from cascadia_sglang.calibration.pool import Pool
from cascadia_sglang.calibration.records import Record
from cascadia_sglang.calibration.replay import CascadeReplay
from cascadia_sglang.calibration.split import part_of
from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.errors import CalibrationError, ConfigError
from cascadia_sglang.judge.calibration import load_calibrations
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.state import FloatArray
from cascadia_sglang.planner.problem import CalibrationRow, GpuSheet, Measured, Problem, Tier
from cascadia_sglang.planner.workload_source import WorkloadSource

_PROMPT = FEATURES.index("log_prompt_tokens")
# With fewer prompts, shares and qualities are guesses.
LEAST_ROWS = 50


def problem_of_sample(
    config: CascadeConfig,
    records: Sequence[Sequence[Record]],
    pool: Pool,
    *,
    gpus: int,
    gpu: GpuSheet,
    profile: str | None,
    quality_floor: float | None,
    max_loss: float,
    trace: str | None,
    rate_per_s: float | None,
) -> Problem:
    """Requests like the sample's, answered and judged as its own; paths are absolute.

    A third of the sample, by the prompts' ids, is left out: `cascadia calibrate` fits the scores to
    it where it is given the same sample.

    Args:
        records: of every tier, in the pool's order.
        profile: of step times, for one device of `gpu`; None estimates them by its data sheet.
        quality_floor: None for the last tier's accuracy less `max_loss`.
        trace: whose requests come in place of those of the sample's mean lengths.

    Raises:
        ConfigError: if a judged tier has no calibration, or there is neither trace nor rate.
        CalibrationError: if too few prompts are left.
    """
    if trace is None and rate_per_s is None:
        raise ConfigError("needed: --rate, or a --trace whose own rate counts")
    rows = np.array([row for row, name in enumerate(pool.ids) if part_of(name) != "fit"], int)
    if len(rows) < LEAST_ROWS:
        raise CalibrationError(
            f"{len(rows)} prompts are left beside those that fit the scores: {LEAST_ROWS} needed"
        )
    right_NT = pool.right()[rows]
    tokens_T = [float(np.mean([own[row].tokens[-1] for row in rows])) for own in records]
    prompt_tokens = float(
        np.mean([np.expm1(_number(records[0][row].features[-1][_PROMPT])) for row in rows])
    )
    if quality_floor is None:
        quality_floor = max(0.0, float(right_NT[:, -1].mean()) - max_loss)
    lengths = (
        {}
        if trace is not None
        else {
            "input_tokens": max(1.0, prompt_tokens),
            "output_tokens": max(1.0, tokens_T[0]),
        }
    )
    return Problem(
        gpu_budget=gpus,
        quality_floor=quality_floor,
        objective="path",
        tiers=[
            Tier(name=tier.name, model=tier.model_path, length=tokens / max(1.0, tokens_T[0]))
            for tier, tokens in zip(config.tiers, tokens_T, strict=True)
        ],
        calibration=_rows(config, pool.take(rows), right_NT, [records[0][row] for row in rows]),
        workload=WorkloadSource(trace=trace, rate_per_s=rate_per_s, **lengths),
        gpu=gpu,
        profiles=[] if profile is None else [Measured(path=profile)],
    )


def _rows(
    config: CascadeConfig, pool: Pool, right_NT: FloatArray, first: Sequence[Record]
) -> list[CalibrationRow]:
    score_NT = scores(config, pool)
    entry = configured_entry(config)
    found = []
    for own_T, right_T, record in zip(score_NT.tolist(), right_NT.tolist(), first, strict=True):
        chances: list[float] = []
        if entry is not None and record.prompt_ids is not None:
            chances = [float(chance) for chance in entry.chances(record.prompt_ids)]
        found.append(
            CalibrationRow(scores=own_T, correct=[float(x) for x in right_T], entry=chances)
        )
    # A router's predictions count where every prompt has them.
    if any(not row.entry for row in found):
        found = [CalibrationRow(scores=row.scores, correct=row.correct) for row in found]
    return found


def scores(config: CascadeConfig, pool: Pool) -> FloatArray:
    """Of whole answers of every tier but the last, [N, T - 1]; 1 where an answer is not judged.

    Raises:
        ConfigError: if one of these tiers has no calibration.
    """
    judged = range(len(config.tiers) - 1)
    for tier in judged:
        if config.tiers[tier].calibration is None:
            raise ConfigError(
                f"tiers[{tier}].calibration is missing: `cascadia calibrate` writes one"
            )
    loaded = load_calibrations(config.calibrations())
    try:
        replay = CascadeReplay([loaded[tier] for tier in judged], pool, early_abort=None)
    except ValueError as error:
        raise ConfigError(f"calibration: {error}") from error
    # At threshold 0 every answer is whole, and every tier knows the ones before.
    found_NT = replay.known_scores([0.0] * len(judged))
    # An answer without a score is accepted.
    kept_NT: FloatArray = np.where(np.isfinite(found_NT), found_NT, 1.0)
    return kept_NT


def _number(value: float | None) -> float:
    return 0.0 if value is None else value
