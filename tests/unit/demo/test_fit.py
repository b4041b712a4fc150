"""The demo's calibrations: the arrays they are fitted on, and that the files tell the truth."""

from __future__ import annotations

import numpy as np
import pytest

from cascadia_sglang.calibration.fit.replay import TierReplay, ends, sigmoid
from cascadia_sglang.calibration.fit.statistics import auroc
from cascadia_sglang.calibration.record.sample import read_sample
from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.judge import state
from cascadia_sglang.judge.calibration import load_calibration
from cascadia_sglang.judge.features import FEATURES
from demo import CASCADE, MODELS
from demo.calibrate.answers import tier_answers
from demo.calibrate.fit import with_thresholds
from demo.calibrate.observe import CHECKPOINTS, Observation, observe
from demo.tasks.questions import lines
from demo.tasks.splits import sample

ROWS = 600
NO_TIERS = np.empty((ROWS, 0))


@pytest.fixture(scope="module")
def seen() -> Observation:
    return observe(MODELS / "small", sample("calibration", 1, ROWS))


def test_observation_counts_the_end_of_sequence_token(seen: Observation) -> None:
    rows = sample("calibration", 1, ROWS)
    tokens_N = np.array([len(row.answer) + 1 for row in rows])
    right_N = seen.correct_N
    np.testing.assert_array_equal(seen.final_NS[right_N, state.COUNT], tokens_N[right_N])
    np.testing.assert_array_equal(seen.prompt_tokens_N, [len(row.prompt) + 1 for row in rows])


def test_prefix_state_has_as_many_tokens_as_its_checkpoint(seen: Observation) -> None:
    longer_N = seen.longer_than(4)
    assert longer_N.any()
    assert (seen.prefix_NS[4][longer_N, state.COUNT] == 4).all()


def test_arrays_have_a_prefix_just_where_the_answer_went_on(seen: Observation) -> None:
    answers = tier_answers(seen)
    assert list(answers.prefix_NF) == list(CHECKPOINTS)
    for tokens, rows_NF in answers.prefix_NF.items():
        np.testing.assert_array_equal(np.isfinite(rows_NF).all(1), seen.longer_than(tokens))
        log_tokens = rows_NF[seen.longer_than(tokens), FEATURES.index("log_tokens")]
        np.testing.assert_allclose(log_tokens, np.log(tokens))


def test_committed_calibration_fits_the_committed_model(seen: Observation) -> None:
    calibration = load_calibration(MODELS / "small" / "calibration.json")
    replay = TierReplay(calibration, tier_answers(seen), 0.05)
    score_N = sigmoid(replay.log_odds(NO_TIERS))
    assert auroc(score_N, seen.correct_N) > 0.9
    assert abs(score_N.mean() - seen.correct_N.mean()) < 0.06
    ended_N = ends(replay.abort_level(NO_TIERS), 0.9)
    assert 0.0 < ended_N.mean() < 0.3
    assert seen.correct_N[ended_N].mean() < 0.3


def test_committed_early_chance_tells_hopeless_from_promising(seen: Observation) -> None:
    calibration = load_calibration(MODELS / "small" / "calibration.json")
    chance_N = TierReplay(calibration, tier_answers(seen), None).chance(4, 0.8, NO_TIERS)
    running_N = seen.longer_than(4)
    assert auroc(chance_N[running_N], seen.correct_N[running_N]) > 0.85


def test_thresholds_are_replaced_and_comments_stay() -> None:
    text = CASCADE.read_text()
    changed = with_thresholds(text, (0.25, 1.0))
    assert changed.splitlines()[0] == text.splitlines()[0]
    assert "  thresholds: [0.25, 1]\n" in changed
    thresholds = load_cascade(CASCADE).routing.thresholds
    assert with_thresholds(changed, tuple(thresholds)) == text
    with pytest.raises(ValueError, match="0 lines of thresholds"):
        with_thresholds("version: 1\n", (0.5,))


def test_questions_are_a_sample(tmp_path) -> None:
    rows = sample("calibration", 3, 40)
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(lines(rows)))
    questions = read_sample(path)
    assert [question.prompt for question in questions] == [row.prompt for row in rows]
    assert [question.references for question in questions] == [[row.answer] for row in rows]
