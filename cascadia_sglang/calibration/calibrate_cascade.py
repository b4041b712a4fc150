"""Calibrates a cascade file on a sample: records, fits, and writes every file of the result."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cascadia_sglang.calibration.fit.best_promise import prospect
from cascadia_sglang.calibration.fit.calibrate import (
    CalibratedCascade,
    Settings,
    calibrate_parts,
    check_parts,
)
from cascadia_sglang.calibration.fit.split import split_sample
from cascadia_sglang.calibration.fit.thresholds import Target, ThresholdResult
from cascadia_sglang.calibration.record.labels import DEFAULT
from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.calibration.record.session import RecordedSample, RecordingSettings, recorded
from cascadia_sglang.calibration.report.costs import fixed_costs, step_costs, tier_speeds
from cascadia_sglang.calibration.report.output import (
    SecondJudges,
    second_judges,
    summary,
    write,
    write_entry_model,
    write_second_judges,
)
from cascadia_sglang.calibration.report.planner_inputs import plan_sample_of
from cascadia_sglang.calibration.report.ready_file import Results, write_ready_file
from cascadia_sglang.calibration.report.report import examine
from cascadia_sglang.calibration.report.verdict import CascadeVerdict, verdict
from cascadia_sglang.config.cascade_file import load_cascade, load_uncalibrated
from cascadia_sglang.config.probes import hidden_recording_tiers
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import CalibrationError, ConfigError
from cascadia_sglang.extras import install_hint, is_installed
from cascadia_sglang.model_checks.calibrated import model_fingerprint, tier_vocabularies
from cascadia_sglang.model_checks.folders import tier_models
from cascadia_sglang.model_checks.tokenizer import load_tokenizer
from cascadia_sglang.model_checks.voices import tokenizer_location
from cascadia_sglang.models.local_files import local_folder

DEFAULT_MAX_LOSS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """A calibrated cascade, and what its held-out prompts show.

    Attributes:
        cascade_file: the cascade file that is ready to be served.
        thresholds: one per tier but the last.
        held_out: quality, shares and cost on the held-out prompts.
        verdict: whether the held-out prompts reach the target, and by which bound.
        lines: the results for a reader, as `cascadia calibrate` prints them.
    """

    cascade_file: Path
    thresholds: tuple[float, ...]
    held_out: ThresholdResult
    verdict: CascadeVerdict
    lines: tuple[str, ...]


def calibrate(
    cascade: Path | str,
    *,
    data: Path | str,
    out: Path | str,
    label: str = DEFAULT,
    probe: bool = False,
    target_quality: float | None = None,
    max_loss: float | None = None,
    escalation_rate: float | None = None,
    max_cost: float | None = None,
    tier_cost: Mapping[str, float] | None = None,
    profile: Path | str | None = None,
    gpu: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 512,
    concurrency: int = 32,
    server_flags: Sequence[str] = (),
    start_timeout_s: float = 900.0,
    answer_timeout_s: float = 600.0,
) -> CalibrationResult:
    """Fit scores and thresholds of a cascade on a sample, and write them as files.

    It starts the cascade as a child process, and asks every tier every question. Answers that `out`
    already holds are not asked again. Progress goes to stderr. Give at most one target:
    `target_quality`, `max_loss`, `escalation_rate` or `max_cost`.

    Args:
        cascade: cascade file; it needs no calibration.
        data: the sample, a JSON object per line.
        out: folder of the results; created if it is missing.
        label: how answers are labelled, such as `exact`, `number` or `agreement`; `auto` by the
            form of each reference.
        probe: whether to record hidden states and fit a probe of them, which is used where it
            gains.
        target_quality: accuracy to reach at the least cost, in [0, 1].
        max_loss: accuracy that may be lost against the last tier alone; 0.01 without a target.
        escalation_rate: largest share of requests at the last tier, for the best accuracy.
        max_cost: largest mean cost of a request, for the best accuracy.
        tier_cost: cost of an answer by the tier's name; None for its tokens times step times.
        profile: file with the step times; None for the cascade file's own.
        gpu: GPU whose step times are estimated, without a profile; None for an H100.
        temperature: of the answers.
        max_tokens: most tokens of an answer.
        concurrency: concurrent questions.
        server_flags: SGLang flags for every tier.
        start_timeout_s: seconds that the server may take to start.
        answer_timeout_s: seconds that an answer may take.

    Raises:
        ConfigError: if the cascade file or the profile is wrong.
        CalibrationError: if the sample is too small, no thresholds reach the target, or no tier can
            have the probe that is asked for.
        CascadiaError: if the server fails; recorded answers stay, and the next call uses them.
    """
    target = _target(target_quality, max_loss, escalation_rate, max_cost)
    has_entry_model = is_installed("sklearn")
    if not has_entry_model:
        _progress(f"no entry model: {install_hint('sklearn')}")
    if not is_installed("matplotlib"):
        _progress(f"no picture: {install_hint('matplotlib')}")
    cascade, out = Path(cascade), Path(out)
    config = load_uncalibrated(cascade, records_hidden=probe)
    if probe and not hidden_recording_tiers(config):
        raise CalibrationError(
            "a probe is asked for, and no tier can have one: the last tier needs none, and tiers "
            "with speculative decoding, or whose workers read drafts, show no hidden states"
        )
    names = [tier.name for tier in config.tiers]
    cost_of = _cost_of(config, tier_cost, None if profile is None else Path(profile), gpu)

    def check_sample(prompt_keys: Sequence[str]) -> None:
        check_parts(prompt_keys)
        for line in prospect(prompt_keys, len(names) - 1, target):
            _progress(line)

    recording = RecordingSettings(
        data=Path(data),
        out=out,
        label=label,
        temperature=temperature,
        max_tokens=max_tokens,
        concurrency=concurrency,
        server_flags=server_flags,
        start_timeout_s=start_timeout_s,
        answer_timeout_s=answer_timeout_s,
    )
    answers = recorded(recording, config, check_sample)
    settings = Settings(
        tier_names=tuple(names),
        tier_cost=cost_of(answers.records, concurrency),
        target=target,
        early_abort=config.routing.early_abort,
        models=tuple(model_fingerprint(local_folder(tier.model_path)) for tier in config.tiers),
        vocabularies=tier_vocabularies(config),
        speculations=tuple(tier.speculation for tier in config.tiers),
    )
    parts = split_sample(answers.pool)
    fitted = calibrate_parts(parts, settings)
    judges = second_judges(fitted, parts)
    lines = [
        *write(examine(fitted, parts, label), parts, out),
        *write_second_judges(judges, fitted, parts, out),
        *_write_plan_sample(fitted, answers, out),
        *(_write_entry_model(fitted, answers, config, out) if has_entry_model else ()),
    ]
    entry_model = has_entry_model and any(record.prompt_ids for record in answers.records[0])
    cascade_file = _write_cascade(cascade, fitted, judges, out, names_entry_model=entry_model)
    reached = verdict(fitted)
    lines += [f"cascade file: {cascade_file}", *summary(fitted), reached.line()]
    return CalibrationResult(
        cascade_file=cascade_file,
        thresholds=fitted.thresholds,
        held_out=fitted.held_out,
        verdict=reached,
        lines=tuple(lines),
    )


def _target(
    quality: float | None, loss: float | None, rate: float | None, cost: float | None
) -> Target:
    """The target that is given; the default loss if none is.

    Raises:
        CalibrationError: if two are given, or a share is not from 0 to 1.
    """
    targets = {
        "target_quality": ("quality", quality),
        "max_loss": ("loss", loss),
        "escalation_rate": ("escalation_rate", rate),
        "max_cost": ("cost", cost),
    }
    given = {name: target for name, target in targets.items() if target[1] is not None}
    if len(given) > 1:
        raise CalibrationError(f"{' and '.join(given)} are given, allowed: one of them")
    for name, (kind, value) in given.items():
        if value is not None and kind != "cost" and not 0.0 <= value <= 1.0:
            raise CalibrationError(f"{name} is {value}, allowed: 0 to 1")
        if value is not None:
            return Target(kind=kind, value=value, prefers_shown=True)
    return Target(kind="loss", value=DEFAULT_MAX_LOSS, prefers_shown=True)


def _cost_of(
    config: CascadeConfig,
    tier_cost: Mapping[str, float] | None,
    profile: Path | None,
    gpu: str | None,
) -> Callable[[Sequence[Sequence[Record]], int], tuple[float, ...]]:
    """Computes the cost of an answer of each tier, from the records and the concurrency.

    Raises:
        CalibrationError: if two ways to count the cost are given, or the costs do not fit.
        ConfigError: if the profile lacks a tier, or a model's shape cannot be read.
    """
    names = [tier.name for tier in config.tiers]
    ways = {"tier_cost": tier_cost, "profile": profile, "gpu": gpu}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise CalibrationError(f"{' and '.join(given)} are given, allowed: one of them")
    if tier_cost is not None or len(names) == 1:
        fixed = (1.0,) if tier_cost is None else fixed_costs(tier_cost, names)
        return lambda _records, _concurrency: fixed
    speeds = tier_speeds(config, profile, gpu)

    def by_steps(records: Sequence[Sequence[Record]], concurrency: int) -> tuple[float, ...]:
        costs = step_costs(speeds, records, concurrency)
        listed = ", ".join(f"{name} {cost:.3g}" for name, cost in zip(names, costs, strict=True))
        _progress(f"cost of an answer: {listed}; its tokens times {speeds.source}")
        return costs

    return by_steps


def _write_plan_sample(
    fitted: CalibratedCascade, answers: RecordedSample, out: Path
) -> Iterator[str]:
    """Write `sample.json` of the planner, for two tiers or more."""
    names = fitted.settings.tier_names
    if len(names) > 1:
        sample = plan_sample_of(names, fitted.calibrations, answers.records, answers.pool)
        path = out / "sample.json"
        path.write_bytes(msgspec.json.encode(sample) + b"\n")
        yield f"planner: sample: {path}"


def _write_entry_model(
    fitted: CalibratedCascade, answers: RecordedSample, config: CascadeConfig, out: Path
) -> Iterator[str]:
    """Write `entry.json`, if the records hold token ids of prompts."""
    prompt_ids = [record.prompt_ids for record in answers.records[0]]
    if any(prompt_ids):
        first = tier_models(config, {})[0]
        tokenizer = load_tokenizer(first.name, *tokenizer_location(first))
        yield from write_entry_model(fitted, answers.pool, prompt_ids, tokenizer.vocabulary, out)


def _write_cascade(
    cascade: Path,
    fitted: CalibratedCascade,
    judges: SecondJudges,
    out: Path,
    *,
    names_entry_model: bool,
) -> Path:
    """Write the cascade file that is ready to be served; warn if it cannot be served unchanged."""
    names = fitted.settings.tier_names
    results = Results(
        thresholds=fitted.thresholds,
        calibrations={
            name: f"{name}.json"
            for name, _ in zip(names, fitted.calibrations, strict=False)  # the last may lack one
        },
        draft_calibrations={
            names[judge.tier]: f"{names[judge.tier]}.draft.json" for judge in judges.judges
        },
        drafts=judges.settings(),
        entry_model="entry.json" if names_entry_model and (out / "entry.json").is_file() else None,
        sample="sample.json" if len(names) > 1 else None,
    )
    path = write_ready_file(cascade, results, out)
    try:
        load_cascade(path)
    except ConfigError as error:
        _progress(f"{path} cannot be served unchanged: {error}")
    return path


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
