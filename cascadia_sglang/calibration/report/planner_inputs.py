"""Turns a sample that every tier has answered into the planner's inputs: a sample, or a problem.

A third of the prompts is not used: `cascadia calibrate` fits the scores to it.

Shape legend: N prompts, T tiers.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit.replay import CascadeReplay
from cascadia_sglang.calibration.fit.split import part_of, parts_of
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import CalibrationError, ConfigError
from cascadia_sglang.judge.calibration import Calibration, load_calibrations
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.planner.problem.problem import GpuSheet, MeasuredProfile, Problem, ProblemTier
from cascadia_sglang.planner.thresholds.sample import PlanSample, SampleRow
from cascadia_sglang.planner.workload.source import WorkloadSource

_PROMPT = FEATURES.index("log_prompt_tokens")
# With fewer prompts, shares and qualities are guesses.
LEAST_ROWS = 50


def plan_sample_of(
    tiers: Sequence[str],
    calibrations: Sequence[Calibration],
    records: Sequence[Sequence[Record]],
    pool: Pool,
    entry: EntryScorer | None = None,
) -> PlanSample:
    """Prompts with the scores of whole answers; 1 where an answer is not judged, and so accepted.

    Args:
        calibrations: of every tier but the last, at least.
        records: of every tier, in the pool's order.
        entry: says what a router would know of each prompt.

    Raises:
        CalibrationError: if too few prompts are left.
        ConfigError: if a score cannot be computed from what was recorded.
    """
    rows = np.flatnonzero(parts_of(pool) != "fit")
    if len(rows) < LEAST_ROWS:
        raise CalibrationError(
            f"{len(rows)} prompts are left beside those that fit the scores: {LEAST_ROWS} needed"
        )
    score_NT = whole_scores(calibrations, pool.take(rows)).tolist()
    right_NT = pool.right()[rows].astype(float).tolist()
    made = []
    for index, row in enumerate(rows):
        tier_records = [of_tier[row] for of_tier in records]
        ids = tier_records[0].prompt_ids
        chances = [] if entry is None or ids is None else entry.chances(ids).tolist()
        made.append(
            SampleRow(
                scores=score_NT[index],
                correct=right_NT[index],
                input_tokens=prompt_tokens(tier_records[0]),
                output_tokens=[max(1, record.tokens[-1]) for record in tier_records],
                entry=chances,
                prompt=pool.prompt_keys[row],
            )
        )
    return PlanSample(version=1, tiers=list(tiers), rows=made)


def check_rows(prompt_keys: Sequence[str]) -> None:
    """Check, before anything is asked, that enough prompts are left beside those of the fit.

    Raises:
        CalibrationError: if not; says how many more are needed, about.
    """
    remaining = sum(part_of(key) != "fit" for key in prompt_keys)
    if remaining < LEAST_ROWS:
        more = math.ceil((LEAST_ROWS - remaining) * 3 / 2)  # a third of them fits the scores
        raise CalibrationError(
            f"the sample has {len(prompt_keys)} labelled prompts, of which {remaining} did not "
            f"fit the scores; {LEAST_ROWS} are needed: about {more} more prompts"
        )


def calibrations_of(config: CascadeConfig) -> list[Calibration]:
    """Those of every tier but the last.

    Raises:
        ConfigError: if a tier has none, or a file does not fit.
    """
    loaded = load_calibrations(config.calibrations())
    for tier in range(len(config.tiers) - 1):
        if tier not in loaded:
            raise ConfigError(
                f"tiers[{tier}].calibration is missing: `cascadia calibrate` writes one"
            )
    return [loaded[tier] for tier in range(len(config.tiers) - 1)]


def kept_shares(calibrations: Sequence[Calibration], pool: Pool) -> list[float | None]:
    """Share of the answer before that each tier keeps as a draft; None where none was recorded.

    Which drafts climb depends on thresholds that are yet to be found. Here one counts as its tokens
    do, and as the chance that it is not acceptable.
    """
    score_NT = whole_scores(calibrations, pool)
    shares: list[float | None] = [None]
    for before, (written, reader) in enumerate(itertools.pairwise(pool.tiers)):
        kept_N = np.full(len(pool), np.nan) if reader.kept_N is None else reader.kept_N
        weight_N = written.tokens() * (1.0 - score_NT[:, before])
        known_N = np.isfinite(kept_N) & np.isfinite(weight_N)
        total = float(weight_N[known_N].sum())
        shares.append(float(kept_N[known_N] @ weight_N[known_N]) / total if total > 0 else None)
    return shares


def prompt_lengths(records: Sequence[Sequence[Record]]) -> list[float]:
    """Tokens of the sample's prompts at each tier, relative to the first, [T].

    Args:
        records: of every tier, in the same order.
    """
    tokens_T = [sum(map(prompt_tokens, tier_records)) for tier_records in records]
    return [tokens / tokens_T[0] for tokens in tokens_T]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSettings:
    """GPUs, quality and load of a problem, as the operator asks for them.

    Attributes:
        profile: file of step times for one device of `gpu`; None estimates them by its data sheet.
        quality_floor: None for the last tier's accuracy less `max_loss`.
        trace: file of requests to plan for; None for requests of the sample's mean lengths.
    """

    gpus: int
    gpu: GpuSheet
    profile: str | None
    quality_floor: float | None
    max_loss: float
    trace: str | None
    rate_per_s: float | None


def problem_of(
    config: CascadeConfig,
    sample: PlanSample,
    prompt_length_T: Sequence[float],
    kept_share_T: Sequence[float | None],
    settings: ProblemSettings,
) -> Problem:
    """A problem with requests like the sample's, answered and judged like them.

    Args:
        prompt_length_T: by `prompt_lengths`.
        kept_share_T: by `kept_shares`.
    """
    tokens_T = sample.output_tokens().mean(axis=0).tolist()
    quality_floor = settings.quality_floor
    if quality_floor is None:
        last = float(np.mean([row.correct[-1] for row in sample.rows]))
        quality_floor = max(0.0, last - settings.max_loss)
    source = WorkloadSource(trace=settings.trace, rate_per_s=settings.rate_per_s)
    if settings.trace is None:
        inputs = float(np.mean([row.input_tokens for row in sample.rows]))
        source = WorkloadSource(
            rate_per_s=settings.rate_per_s, input_tokens=inputs, output_tokens=tokens_T[0]
        )
    return Problem(
        gpu_budget=settings.gpus,
        quality_floor=quality_floor,
        objective="path",
        tiers=[
            ProblemTier(
                name=tier.name,
                model=tier.model_path,
                length=tokens / tokens_T[0],
                prompt_length=prompt_length,
                kept=kept_share,
                block=block,
                gpu_share=None if block is None else tier.gpu_share,
            )
            for tier, tokens, prompt_length, kept_share, block in zip(
                config.tiers,
                tokens_T,
                prompt_length_T,
                kept_share_T,
                _blocks(config),
                strict=True,
            )
        ],
        calibration=[row.as_calibration() for row in sample.rows],
        workload=source,
        gpu=settings.gpu,
        profiles=[] if settings.profile is None else [MeasuredProfile(path=settings.profile)],
    )


def _blocks(config: CascadeConfig) -> list[str | None]:
    """Of each tier the block of those that name the same devices; None where no other does."""
    named = [None if tier.devices is None else tuple(tier.devices) for tier in config.tiers]
    return [
        None
        if devices is None or named.count(devices) < 2
        else "|".join(
            tier.name for tier, others in zip(config.tiers, named, strict=True) if others == devices
        )
        for devices in named
    ]


def whole_scores(calibrations: Sequence[Calibration], pool: Pool) -> FloatArray:
    """Scores of whole answers of every tier but the last, [N, T - 1]; 1 where one is not judged.

    Raises:
        ConfigError: if a score cannot be computed from what was recorded.
    """
    judged = len(pool.tiers) - 1
    try:
        replay = CascadeReplay(calibrations[:judged], pool, early_abort=None)
    except ValueError as error:
        raise ConfigError(f"calibration: {error}") from error
    # At threshold 0 no answer is ended early, and every tier knows the ones before.
    found_NT = replay.known_scores([0.0] * judged)
    kept_NT: FloatArray = np.where(np.isfinite(found_NT), found_NT, 1.0)
    return kept_NT


def prompt_tokens(record: Record) -> int:
    """Of the question that a record answers."""
    log_tokens = record.features[-1][_PROMPT]
    return 1 if log_tokens is None else max(1, round(float(np.expm1(log_tokens))))
