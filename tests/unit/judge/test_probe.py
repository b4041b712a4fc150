"""The probe of a calibration: what it says, where it is kept, and how it counts."""

import json
import math
from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from cascadia_kernels.hidden_probe import hidden_probe as kernels_probe
from cascadia_kernels.reference import reference_probe
from cascadia_kernels.testing import make_logits
from cascadia_patches.model import model_runner_sample
from cascadia_sglang.judge import hidden
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration, save_calibration
from cascadia_sglang.judge.device_observer import DeviceObserver
from cascadia_sglang.judge.failed_step import FailedStep
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import HostObserver, HostStep
from cascadia_sglang.judge.probe import (
    EPSILON,
    LOG_ODDS_LIMIT,
    Probe,
    ProbeParameters,
    packed,
    probe_log_odds,
)
from tests.unit.judge.judging import finish, make_calibration, make_req, report_of
from tests.unit.judge.test_observer import make_info

H, U = 12, 5
RNG = np.random.default_rng(3)
PARAMETERS = ProbeParameters(
    norm_weight_H=1.0 + 0.2 * RNG.normal(size=H),
    norm_bias_H=0.1 * RNG.normal(size=H),
    first_HU=RNG.normal(size=(H, U)),
    first_bias_U=RNG.normal(size=U),
    second_U=RNG.normal(size=U),
    second_bias_1=np.array([0.2]),
)
PROBE = packed(PARAMETERS, weight=0.5)
CALIBRATION = msgspec.structs.replace(
    make_calibration(0, bias=0.1, mean_logprob=1.0), version=3, quantile_samples=0, probe=PROBE
)
HIDDEN_BH = (2.0 + 3.0 * RNG.normal(size=(3, H))).astype(np.float32)


def reference(row: int) -> float:
    """Log-odds by the kernels' float64 reference."""
    parameters = tuple(torch.tensor(part) for part in PROBE.unpacked())
    score = reference_probe(HIDDEN_BH[row].astype(np.float64).tolist(), parameters, EPSILON)
    return math.log(score) - math.log1p(-score)


# What it says


def test_log_odds_equal_the_kernels_reference() -> None:
    found_B = probe_log_odds(HIDDEN_BH, PROBE.unpacked())
    assert found_B.tolist() == pytest.approx([reference(row) for row in range(3)], rel=1e-9)


def test_a_sure_probe_is_cut_and_a_broken_row_is_nan() -> None:
    sure = PARAMETERS._replace(second_bias_1=np.array([1e6]))
    broken_BH = HIDDEN_BH.copy()
    broken_BH[1, 4] = np.inf
    with np.errstate(invalid="ignore"):
        found_B = probe_log_odds(broken_BH, sure)
    assert found_B[[0, 2]].tolist() == [LOG_ODDS_LIMIT] * 2
    assert math.isnan(found_B[1])


def test_it_counts_in_the_score_by_its_weight() -> None:
    features_F = np.zeros(16)
    without = ScoreModel(msgspec.structs.replace(CALIBRATION, probe=None)).score(features_F)
    score = ScoreModel(CALIBRATION).score(features_F, (), 1.4)
    assert score == pytest.approx(1 / (1 + math.exp(-(0.1 + 0.5 * 1.4))))
    assert without == pytest.approx(1 / (1 + math.exp(-0.1)))
    assert math.isnan(ScoreModel(CALIBRATION).score(features_F))


# Where it is kept


def test_a_calibration_with_a_probe_loads_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    save_calibration(CALIBRATION, path)
    loaded = load_calibration(path)
    assert loaded == CALIBRATION
    assert loaded.probe is not None
    for part, stored in zip(PARAMETERS, loaded.probe.unpacked(), strict=True):
        np.testing.assert_array_equal(stored, part.astype(np.float32))
    assert isinstance(json.loads(path.read_text())["probe"]["parameters"], str)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((H + 1, U), "found 380"), ((H, 0), "1 or more"), ((-1, U), "1 or more")],
)
def test_sizes_that_do_not_fit_are_refused(sizes: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Probe(hidden=sizes[0], units=sizes[1], parameters=PROBE.parameters, weight=1.0)


# In the engine


def likely_7() -> torch.Tensor:
    """Logits under which the token that a request of these tests commits is the likeliest."""
    logits_BV = make_logits(3, 100)
    logits_BV[:, 7] = logits_BV.amax(dim=-1) + 0.5
    return logits_BV


def observed(observer_type: Any, judge: Judge, is_moved: bool = False) -> list[dict[str, Any]]:
    """Reports of three one-token answers, the hidden states brought by the hook on the sampler."""
    observer = observer_type(judge)
    runner = SimpleNamespace(sampling_observer=observer)
    logits_BV = likely_7()
    hidden_BH = torch.from_numpy(HIDDEN_BH.copy())
    model_runner_sample.PATCH.build(judge)(runner, SimpleNamespace(hidden_states=hidden_BH), None)
    state = observer.before_grammar(logits_BV, make_info(3))
    output = observer.after_sample(state, logits_BV.argmax(dim=-1))
    if observer_type is DeviceObserver:
        hidden_BH.fill_(math.nan)  # as the next step's graph overwrites SGLang's buffer
    if is_moved:
        output = observer.from_pp_tensors(output.to_pp_tensors())
    requests = [make_req() for _ in range(3)]
    commits = [request.commit() for request in requests]
    for request in requests:
        finish(request)
    host = output.copy_to_host(lambda tensor: tensor.clone())
    host.consume(SimpleNamespace(reqs=requests), commits)
    return [report_of(judge, request) for request in requests]


def observed_scores(observer_type: Any, is_moved: bool = False) -> list[float]:
    judge = Judge({0: ScoreModel(CALIBRATION)})
    return [report["score"] for report in observed(observer_type, judge, is_moved)]


def expected_scores() -> list[float]:
    logprob_B = likely_7().double().log_softmax(dim=-1)[:, 7]
    odds = [0.1 + float(logprob_B[row]) + 0.5 * reference(row) for row in range(3)]
    return [1 / (1 + math.exp(-value)) for value in odds]


@pytest.mark.parametrize("is_moved", [False, True], ids=["here", "pipeline"])
def test_the_score_on_a_host_counts_the_hidden_state_of_its_row(is_moved: bool) -> None:
    assert observed_scores(HostObserver, is_moved) == pytest.approx(expected_scores(), abs=1e-5)


@pytest.mark.parametrize("is_moved", [False, True], ids=["here", "pipeline"])
def test_the_score_on_a_device_is_that_of_the_host(
    is_moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the kernel's reference in its place: the kernel has its own tests."""

    def by_reference(hidden_BH: torch.Tensor, weights: Any) -> torch.Tensor:
        rows = hidden_BH.double().tolist()
        return torch.tensor([reference_probe(row, weights, EPSILON) for row in rows])

    assert hidden.hidden_probe is kernels_probe
    monkeypatch.setattr(hidden, "hidden_probe", by_reference)
    scores = observed_scores(DeviceObserver, is_moved)
    assert scores == pytest.approx(expected_scores(), abs=1e-5)


@pytest.mark.parametrize("rows", [None, 2], ids=["none", "too-few"])
def test_without_a_hidden_state_a_row_there_is_no_score(
    rows: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    observer = HostObserver(Judge({0: ScoreModel(CALIBRATION)}))
    observer.hidden.take(None if rows is None else torch.zeros(rows, H))
    step = observer.before_grammar(make_logits(3, 100), make_info(3))
    assert isinstance(step, FailedStep)
    assert "the judge needs a hidden state a row" in caplog.text


def test_hidden_states_are_used_once() -> None:
    """Those of an earlier step say nothing of this one."""
    observer = HostObserver(Judge({0: ScoreModel(CALIBRATION)}))
    observer.hidden.take(torch.zeros(3, H))
    first, second = (observer.before_grammar(make_logits(3, 100), make_info(3)) for _ in range(2))
    assert isinstance(first, HostStep)
    assert isinstance(second, FailedStep)


@pytest.mark.parametrize("is_moved", [False, True], ids=["here", "pipeline"])
@pytest.mark.parametrize("observer_type", [HostObserver, DeviceObserver])
def test_a_record_holds_the_hidden_state_that_gave_the_last_token(
    observer_type: Any, is_moved: bool
) -> None:
    judge = Judge({}, record=True, hidden=frozenset({0}))
    assert judge.reads_hidden
    assert not judge.probes()
    reports = observed(observer_type, judge, is_moved)
    for report, hidden_H in zip(reports, HIDDEN_BH, strict=True):
        found = np.frombuffer(b64decode(report["record"]["hidden"]), "<f2")
        np.testing.assert_array_equal(found, hidden_H.astype(np.float16))


def test_a_score_and_a_record_read_the_same_state() -> None:
    judge = Judge({0: ScoreModel(CALIBRATION)}, record=True, hidden=frozenset({0}))
    for row, report in enumerate(observed(HostObserver, judge)):
        assert report["score"] == pytest.approx(expected_scores()[row], abs=1e-5)
        kept_H = np.frombuffer(b64decode(report["record"]["hidden"]), "<f2")
        log_odds = probe_log_odds(kept_H[np.newaxis], PROBE.unpacked())[0]
        assert log_odds == pytest.approx(reference(row), abs=0.02)


def test_records_of_other_tiers_hold_none() -> None:
    judge = Judge({}, record=True, hidden=frozenset({1}))
    assert all("hidden" not in one["record"] for one in observed(HostObserver, judge))


def test_a_state_beyond_float16_is_recorded_as_infinite() -> None:
    """No probe is fitted to it."""
    observer = HostObserver(Judge({}, record=True, hidden=frozenset({0})))
    observer.hidden.take(torch.full((1, H), 1e6))
    step = observer.before_grammar(make_logits(1, 100), make_info(1))
    assert isinstance(step, HostStep)
    state = step.hidden_state(0)
    assert state is not None
    assert np.isinf(np.frombuffer(state, "<f2")).all()
