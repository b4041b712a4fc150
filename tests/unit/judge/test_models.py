"""Which model scores an attempt: the worker's own, the built-in rank, or a file that it names."""

import logging
from pathlib import Path

import pytest

from cascadia_sglang.judge.calibration import ScoreModel, save_calibration
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.models import KEPT, ScoreModels, start_models
from cascadia_sglang.judge.probe import Probe
from cascadia_sglang.messages import JudgeSpec
from tests.unit.judge.judging import (
    SURE,
    FakeReq,
    finish,
    make_calibration,
    make_model,
    make_req,
    plain_features,
    report_of,
    step,
)


def saved(path: Path, earlier_tiers: int = 0, bias: float = 0.0) -> str:
    save_calibration(make_calibration(earlier_tiers, bias, mean_logprob=1.0), path)
    return str(path)


def scored(judge: Judge, request: FakeReq) -> float | None:
    finish(request)
    step(judge, (request, SURE))
    report = report_of(judge, request)
    score: float | None = None if report is None else report["score"]
    return score


def test_an_attempt_is_scored_by_the_file_that_it_names(tmp_path: Path) -> None:
    judge = Judge({0: make_model(bias=-2.0)})
    path = saved(tmp_path / "new.json", bias=2.0)
    assert scored(judge, make_req(calibration=path)) == make_model(bias=2.0).score(
        plain_features([SURE])
    )
    assert scored(judge, make_req()) == make_model(bias=-2.0).score(plain_features([SURE]))


def test_a_file_is_read_once(tmp_path: Path) -> None:
    models = ScoreModels({})
    path = saved(tmp_path / "new.json")
    first = models.of(0, path)
    Path(path).unlink()
    assert first is not None
    assert models.of(0, path) is first


@pytest.mark.parametrize("content", [None, "", "{}", "\0\0", "[" * 100_000])
def test_a_bad_file_leaves_its_answers_without_a_score_and_logs_one_line(
    content: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Judge({0: make_model()})
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert scored(judge, make_req(calibration=str(path))) is None
    (line,) = caplog.messages
    assert line.startswith("answers of tier 0 have no score: ")
    assert str(path) in line
    assert scored(judge, make_req()) is not None


def test_a_file_of_a_tier_at_another_place_is_no_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "second.json", earlier_tiers=1)
    models = ScoreModels({})
    assert models.of(0, path) is None
    assert models.of(1, path) is not None
    assert "fitted behind 1 tiers" in caplog.text


def test_a_probe_that_the_worker_did_not_start_with_is_no_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibration = make_calibration(0, 0.0)
    probe = Probe(hidden=1, units=1, parameters=bytes(4 * 6), weight=1.0)
    probed = type(calibration)(
        **{f: getattr(calibration, f) for f in calibration.__struct_fields__ if f != "probe"},
        probe=probe,
    )
    save_calibration(probed, tmp_path / "probed.json")
    path = str(tmp_path / "probed.json")
    assert ScoreModels({0: make_model()}).of(0, path) is None
    assert "has a probe" in caplog.text
    assert ScoreModels({0: ScoreModel(probed)}).of(0, path) is not None


def test_a_few_files_are_kept(tmp_path: Path) -> None:
    models = ScoreModels({})
    paths = [saved(tmp_path / f"{number}.json") for number in range(KEPT + 1)]
    loaded = [models.of(0, path) for path in paths]
    assert models.of(0, paths[-1]) is loaded[-1]
    assert models.of(0, paths[0]) is not loaded[0]


def test_a_tier_without_a_file_is_ranked_where_the_spec_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "own.json")
    spec = JudgeSpec(
        calibrations={1: path}, record=False, counts_reasoning=False, ranked=frozenset({0})
    )
    assert set(start_models(spec)) == {0, 1}
    assert set(start_models(spec.of_tiers({0}))) == {0}
    assert set(start_models(spec.of_tiers({1, 2}))) == {1}


def test_a_file_for_a_ranked_tier_scores_answers_under_a_grammar_as_the_rank_did(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path / "new.json")
    spec = JudgeSpec(calibrations={}, record=False, counts_reasoning=False, ranked=frozenset({0}))
    assert ScoreModels(start_models(spec)).of(0, path).judges_constrained
    assert not ScoreModels({0: make_model()}).of(0, path).judges_constrained
