"""The report and its files say what the arrays say."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cascadia_sglang.calibration.fit.calibrate import (
    Settings,
    calibrate,
    calibrate_parts,
    true_risks,
)
from cascadia_sglang.calibration.fit.split import Parts, split_sample
from cascadia_sglang.calibration.fit.statistics import auroc
from cascadia_sglang.calibration.fit.thresholds import Target
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.calibration.report.output import write
from cascadia_sglang.calibration.report.page import page
from cascadia_sglang.calibration.report.quality import tier_qualities
from cascadia_sglang.calibration.report.report import Report, examine, reported_calibrations
from cascadia_sglang.calibration.report.sensitivity import AUROCS, noise_for
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.calibration import load_calibrations
from cascadia_sglang.judge.watch.agreement import Agreement
from tests.unit.calibration.pools import make_pool

SETTINGS = Settings(
    tier_names=("small", "middle", "large"),
    tier_cost=(1.0, 3.0, 9.0),
    target=Target(kind="escalation_rate", value=0.3),
    early_abort=0.05,
    models=("0a", None, "0c"),
)


@pytest.fixture(scope="module", autouse=True)
def few_resamples_and_thresholds() -> Iterator[None]:
    """Intervals and the search have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cascadia_sglang.calibration.fit.thresholds.GRID", 24)
        patch.setattr("cascadia_sglang.calibration.fit.statistics.RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def parts() -> Parts:
    return split_sample(make_pool(1_500, seed=9))


@pytest.fixture(scope="module")
def report(parts: Parts) -> Report:
    return examine(calibrate_parts(parts, SETTINGS), parts, "exact")


def test_written_files_are_served_files(report: Report, parts: Parts, tmp_path: Path) -> None:
    printed = list(write(report, parts, tmp_path))
    paths = {i: str(tmp_path / f"{name}.json") for i, name in enumerate(SETTINGS.tier_names)}
    loaded = load_calibrations(paths)
    assert loaded == dict(enumerate(reported_calibrations(report, parts).values()))
    assert [c.samples for c in loaded.values()] == [len(parts.fit)] * 3
    assert [c.model for c in loaded.values()] == ["0a", None, "0c"]
    assert (tmp_path / "report.svg").read_text().startswith("<?xml")
    assert "](report.svg)" in (tmp_path / "report.md").read_text()
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["thresholds"] == list(report.cascade.thresholds)
    assert (
        printed[3] == f"routing: thresholds: [{', '.join(f'{h:g}' for h in written['thresholds'])}]"
    )


def test_tiers_are_measured_on_what_reaches_them(report: Report, parts: Parts) -> None:
    served = report.cascade.replay(parts.certify).serve(report.cascade.thresholds)
    for index, tier in enumerate(report.tiers):
        reached_N = served.reached_NT[:, index]
        assert tier.reached == reached_N.sum()
        assert tier.accuracy == pytest.approx(parts.certify.tiers[index].right_N[reached_N].mean())
        assert set(tier.by) == {"score", "length", "mean_logprob", "min_logprob"}
    first = report.tiers[0].by
    right_N = parts.certify.tiers[0].right_N
    assert first["score"]["auroc"].value == pytest.approx(auroc(served.score_NT[:, 0], right_N))
    # Feature 0 tells most, 1 a little, and the length is noise.
    assert first["mean_logprob"]["auroc"].value > first["min_logprob"]["auroc"].value
    assert abs(first["length"]["auroc"].value - 0.5) < 0.1


def test_quantiles_are_of_finished_answers_that_reach_the_tier(report, parts) -> None:
    unfitted = Pool.concatenated([parts.choose, parts.certify])
    served = report.cascade.replay(unfitted).serve(report.cascade.thresholds)
    rows_N = served.reached_NT[:, 1] & ~served.ended_NT[:, 1]
    calibration = reported_calibrations(report, parts)["middle"]
    assert calibration.quantile_samples == rows_N.sum()
    quantiles = calibration.score_quantiles
    assert len(quantiles) == 101
    assert quantiles[50] == pytest.approx(np.median(served.score_NT[rows_N, 1]), abs=1e-6)


def test_agreement_is_that_of_the_accepted_answers_with_the_last_tiers(report, parts) -> None:
    def third_differs(part: Pool) -> Pool:
        """The answers to every third prompt differ."""
        same_N = np.arange(len(part)) % 3 > 0
        tiers = tuple(dataclasses.replace(tier, same_N=same_N) for tier in part.tiers)
        return dataclasses.replace(part, tiers=tiers)

    changed = dataclasses.replace(
        parts, choose=third_differs(parts.choose), certify=third_differs(parts.certify)
    )
    unfitted = Pool.concatenated([changed.choose, changed.certify])
    served = report.cascade.replay(unfitted).serve(report.cascade.thresholds)
    same_N = unfitted.tiers[1].same_N[served.answered_by_N == 1]
    agreement = reported_calibrations(report, changed)["middle"].agreement
    assert agreement == Agreement(agreed=same_N.sum(), answers=len(same_N))
    assert 0 < agreement.agreed < agreement.answers
    assert reported_calibrations(report, parts)["middle"].agreement is None


def test_groups_are_measured_by_scores_that_never_saw_them(report: Report, parts: Parts) -> None:
    assert [(g.group, g.tier) for g in report.groups] == [
        ("a", "small"),
        ("a", "middle"),
        ("b", "small"),
        ("b", "middle"),
    ]
    count = sum(g == "a" for g in (*parts.choose.groups, *parts.certify.groups))
    assert report.groups[0].by["auroc"].n == count


def test_constrained_answers_are_reported_apart() -> None:
    pool = make_pool(900, seed=9)
    mixed = dataclasses.replace(pool, constrained_N=np.arange(900) % 2 == 0)
    parts = split_sample(mixed)
    by = tier_qualities(calibrate_parts(parts, SETTINGS), parts)[0].by
    assert by["constrained"]["ece"].n == parts.certify.constrained_N.sum()
    assert by["plain"]["ece"].n + by["constrained"]["ece"].n == len(parts.certify)


def test_noise_brings_the_auroc_down_to_its_target() -> None:
    rng = np.random.default_rng(0)
    right_N = rng.random(4_000) < 0.7
    log_odds_N = 3.0 * right_N + rng.normal(size=4_000)
    unit_N = rng.normal(size=4_000)
    for target in AUROCS:
        sd = noise_for(log_odds_N, right_N, unit_N, target)
        assert auroc(log_odds_N + sd * unit_N, right_N) == pytest.approx(target, abs=1e-3)
    assert noise_for(rng.normal(size=4_000), right_N, unit_N, 0.85) == 0.0


def test_a_weaker_judge_costs_quality_or_money(report: Report) -> None:
    held_out = report.cascade.held_out
    assert [weaker.auroc for weaker in report.weaker] == list(AUROCS)
    *_, middle, weakest = report.weaker
    # These tiers judge with about 0.85 by themselves, so the first of the three adds hardly any.
    assert 0 < middle.noise_sd[0] < weakest.noise_sd[0]
    assert held_out.quality > middle.kept.quality > weakest.kept.quality
    assert weakest.rechosen is not None
    assert weakest.rechosen.shares[-1] <= SETTINGS.target.value + 0.05


def test_page_has_a_row_for_everything(report: Report) -> None:
    text = page(report)
    assert "500" in text
    for word in ("small", "AUROC", "Clopper-Pearson", "| 0.65 |", "kept", "chosen anew"):
        assert word in text
    assert "](" not in text  # no picture was asked for


def test_too_small_a_sample_is_refused() -> None:
    with pytest.raises(CalibrationError, match="labelled prompts are left to"):
        calibrate(make_pool(60), SETTINGS)


def test_agreement_leaves_the_last_tier_without_a_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Groups and weaker judges take most of a report's time, and are looked at above.
    monkeypatch.setattr("cascadia_sglang.calibration.report.quality.MAX_GROUPS", 0)
    monkeypatch.setattr("cascadia_sglang.calibration.report.sensitivity.AUROCS", ())
    pool = make_pool(900, seed=10)
    last = dataclasses.replace(pool.tiers[2], right_N=np.ones(900, dtype=bool))
    parts = split_sample(dataclasses.replace(pool, tiers=(*pool.tiers[:2], last)))
    examined = examine(calibrate_parts(parts, SETTINGS), parts, "agreement")
    assert [tier.tier for tier in examined.tiers] == ["small", "middle"]
    list(write(examined, parts, tmp_path))
    assert not (tmp_path / "large.json").exists()


def test_true_risks_are_shares_of_what_each_tier_accepts(report, parts) -> None:
    served = report.cascade.replay(parts.choose).serve(report.cascade.thresholds)
    expected = [
        np.mean(~parts.choose.tiers[tier].right_N[served.answered_by_N == tier])
        for tier in range(2)
    ]
    assert true_risks(served) == pytest.approx(expected)
