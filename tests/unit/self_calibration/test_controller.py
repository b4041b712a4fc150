"""When tiers are fitted, what becomes of it, and that no failure reaches the server."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.self_calibration.controller import SelfCalibration
from cascadia_sglang.self_calibration.fit import FitResult, Fitting, TierFit, fit_labels
from cascadia_sglang.self_calibration.fit_process import FitRequest, ask_fit
from cascadia_sglang.self_calibration.label import (
    Label,
    LabelRates,
    VisitLabel,
    first_rates,
    later_rates,
)
from cascadia_sglang.self_calibration.progress import NEEDED
from cascadia_sglang.self_calibration.state_folder import StateFolder
from tests.unit.self_calibration.streams import labels_of, lowest, make_traffic

RATE = 0.02


def some_labels(requests: int, seed: int = 1) -> list[Label]:
    return labels_of(make_traffic(requests, seed), first_rates(RATE), lowest(0.3), seed)


class FakeServing:
    """A cascade that only remembers what it is told."""

    def __init__(self) -> None:
        self.in_force: dict[int, tuple[Path, Calibration]] = {}
        self.swaps = 0
        self.rates = LabelRates()
        self.likely: float | None = None
        self.alarmed: set[int] = set()

    def fitting(self, tier: int, *, fits: bool) -> Fitting:
        calibration = self.in_force[tier][1] if tier in self.in_force else None
        return Fitting(tier=tier, share=0.3, calibration=calibration, fits=fits)

    def activate(self, tier: int, path: Path, calibration: Calibration) -> None:
        self.in_force[tier] = (path, calibration)
        self.swaps += 1

    def label(self, rates: LabelRates, likely: float | None) -> None:
        self.rates, self.likely = rates, likely

    def is_alarmed(self, tier: int) -> bool:
        return tier in self.alarmed


class Running:
    """A self-calibration in a folder; fits run in this process."""

    def __init__(self, path: Path, fit: object = None) -> None:
        self.requests: list[FitRequest] = []
        self.serving = FakeServing()
        self.counted: list[tuple[int, str]] = []

        async def here(request: FitRequest) -> FitResult:
            self.requests.append(request)
            folder = StateFolder(Path(request.folder), request.digest)
            labels = [label for _, label in folder.labels(request.first_label)]
            return fit_labels(labels, request.tiers, request.early_abort, request.error)

        self.it = SelfCalibration(
            {0: "small"}, [0], StateFolder(path, "d"), self.serving, RATE, 0.05, self, fit or here
        )
        self.it.restore()

    def labelled(self, tier: int, kind: str) -> None:
        self.counted.append((tier, kind))

    def self_calibrated(self, tier: int, outcome: str) -> None:
        self.counted.append((tier, outcome))

    def take(self, labels: Iterable[Label]) -> "Running":
        for label in labels:
            self.it.take(label)
        return self

    def check(self) -> "Running":
        asyncio.run(self.it.check())
        return self

    @property
    def summary(self) -> dict:
        summary = self.it.summary(0)
        assert summary is not None
        return summary


def test_before_there_are_enough_labels_nothing_is_fitted(tmp_path: Path) -> None:
    running = Running(tmp_path).take(some_labels(3_000)).check()
    assert running.requests == []
    summary = running.summary
    assert summary["state"] == "collecting"
    assert 0 < summary["effective_labels"] < summary["needed"] == NEEDED
    assert summary["labels"] > 900  # escalated ones are many, and worth little
    assert summary["bound"] is None
    assert running.serving.rates == first_rates(RATE)


def test_with_enough_labels_the_tier_is_calibrated_without_a_restart(tmp_path: Path) -> None:
    running = Running(tmp_path).take(some_labels(40_000)).check()
    path, calibration = running.serving.in_force[0]
    assert path == tmp_path / "tier-0-0001.json"
    assert path.exists()
    assert calibration.report["labels"] == running.summary["labels"]
    assert running.serving.rates == later_rates(RATE)
    summary = running.summary
    assert (summary["state"], summary["fits"], summary["why"]) == ("fitted", 1, None)
    assert 0 < summary["bound"]["disagree_at_most"] < 0.5
    assert summary["bound"]["accepted"] >= summary["bound"]["needed"]
    assert summary["bound"]["confidence"] == 0.95
    assert 0 < summary["ece"] < 0.2
    assert summary["auroc"] > summary["rank_auroc"]
    assert running.counted[-1] == (0, "fitted")
    assert (0, "words") in running.counted


def test_it_is_fitted_again_when_the_labels_have_doubled_and_not_before(tmp_path: Path) -> None:
    labels = some_labels(90_000)
    third = len(labels) // 3
    running = Running(tmp_path).take(labels[:third]).check().check()
    assert len(running.requests) == 1
    running.take(labels[third : third + third // 2]).check()
    assert len(running.requests) == 1
    running.take(labels[third + third // 2 :]).check()
    assert len(running.requests) == 2
    assert running.serving.in_force[0][0].name == "tier-0-0002.json"


def test_an_alarm_calls_for_a_fit_on_the_newer_labels(tmp_path: Path) -> None:
    labels = some_labels(60_000)
    running = Running(tmp_path).take(labels[: len(labels) // 2]).check()
    running.serving.alarmed = {0}
    running.check()
    assert len(running.requests) == 1  # nothing new is known
    running.take(labels[len(labels) // 2 :])
    before = running.summary["labels"]
    running.check()
    assert len(running.requests) == 2
    assert running.requests[1].first_label == len(labels) // 2
    assert running.summary["labels"] == pytest.approx(before / 2, abs=1)


def test_a_refused_fit_leaves_the_rank_and_says_why(tmp_path: Path) -> None:
    async def refuse(_: FitRequest) -> FitResult:
        refused = TierFit(tier=0, refusal="its AUROC is 0.5")
        return FitResult(tiers=[refused], likely=-0.4, likely_short=50, likely_same=0.9)

    running = Running(tmp_path, refuse).take(some_labels(40_000)).check()
    assert running.serving.in_force == {}
    summary = running.summary
    assert (summary["state"], summary["refused"]) == ("refused", 1)
    assert summary["why"] == "its AUROC is 0.5"
    assert running.serving.likely == -0.4
    assert running.serving.rates == first_rates(RATE)
    assert running.counted[-1] == (0, "refused")


@pytest.mark.parametrize("error", [CalibrationError("no fit within 300 s"), KeyError("x")])
def test_a_failed_fit_is_counted_and_tried_again_later(tmp_path: Path, error: Exception) -> None:
    tried = []

    async def fail(request: FitRequest) -> FitResult:
        tried.append(request)
        raise error

    labels = some_labels(60_000)
    running = Running(tmp_path, fail).take(labels[: len(labels) // 2]).check().check()
    assert len(tried) == 1
    assert running.summary["failed"] == 1
    assert running.summary["why"] == str(error)
    assert running.counted[-1] == (0, "failed")
    running.take(labels[len(labels) // 2 :]).check()
    assert len(tried) == 2


def test_a_restart_goes_on_with_labels_and_calibration(tmp_path: Path) -> None:
    labels = some_labels(40_000)
    running = Running(tmp_path).take(labels).check()
    before = running.summary
    running.it.close()
    again = Running(tmp_path)
    summary = again.summary
    for key in ("state", "labels", "bound", "auroc", "ece", "likely"):
        assert summary[key] == before[key]
    assert summary["effective_labels"] == pytest.approx(before["effective_labels"])
    assert again.serving.in_force[0][1] == running.serving.in_force[0][1]
    assert again.serving.rates == later_rates(RATE)
    again.check()
    assert again.requests == []
    assert again.take(some_labels(50_000, seed=2)).check().requests != []
    assert again.serving.in_force[0][0].name == "tier-0-0002.json"


def test_a_full_disk_costs_labels_and_nothing_else(tmp_path: Path, caplog, monkeypatch) -> None:
    running = Running(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StateFolder, "append", full)
    running.take(some_labels(500)).check()
    assert running.summary["labels"] == 0
    assert [r.message for r in caplog.records].count(
        f"labels are not kept: {tmp_path}: [Errno 28] No space left on device"
    ) == 1


def test_a_tier_with_a_file_of_its_own_is_none_of_it(tmp_path: Path) -> None:
    running = Running(tmp_path)
    assert running.it.summary(1) is None
    visit = VisitLabel(tier=1, tokens=[4], features=[[0.0] * 16], same=True)
    running.take([Label(prompt="p", chance=1.0, least_chance=0.5, draw=0.1, visits=[visit])])
    assert running.summary["labels"] == 0


def request_for(folder: StateFolder, **changes: object) -> FitRequest:
    tiers = [Fitting(tier=0, share=0.3, calibration=None, fits=True)]
    request = FitRequest(
        folder=str(folder.path),
        digest="d",
        first_label=0,
        tiers=tiers,
        early_abort=0.05,
        error=0.05,
    )
    return msgspec.structs.replace(request, **changes)


def test_the_process_finds_what_this_one_finds(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "d")
    folder.open()
    labels = some_labels(20_000)
    for label in labels:
        folder.append(label)
    request = request_for(folder)
    fit = asyncio.run(ask_fit(request))
    assert fit == fit_labels(labels, request.tiers, 0.05, 0.05)


def test_a_process_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "d")
    folder.open()
    with pytest.raises(CalibrationError, match=r"^the fit ended with 1: state .* other models"):
        asyncio.run(ask_fit(request_for(folder, digest="other")))


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (("/does/not/exist",), "the fit did not start"),
        ((sys.executable, "-c", "print('{}')"), "the fit wrote no result"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "no fit within 0.5 s"),
    ],
)
def test_a_process_that_is_no_fit_is_an_error(
    tmp_path: Path, command: tuple[str, ...], error: str
) -> None:
    request = request_for(StateFolder(tmp_path, "d"))
    with pytest.raises(CalibrationError, match=error):
        asyncio.run(ask_fit(request, 0.5 if "sleep" in command[-1] else 20.0, command))
