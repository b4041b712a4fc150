"""The calibration file, the score and the chance of acceptance."""

import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.calibration import (
    Calibration,
    PrefixModel,
    ScoreModel,
    load_calibration,
    load_calibrations,
    save_calibration,
)
from cascadia_sglang.judge.features import FEATURES, earlier_names, logit

NAMES = [*FEATURES, *earlier_names(2)]
F, G = len(FEATURES), len(NAMES)
EARLIER = (0.3, None)
RNG = np.random.default_rng(0)

CALIBRATION = Calibration(
    version=3,
    features=NAMES,
    mean=RNG.normal(size=G).tolist(),
    scale=RNG.uniform(0.5, 2.0, size=G).tolist(),
    weights=RNG.normal(size=G).tolist(),
    bias=0.3,
    prefix=[
        PrefixModel(tokens=2, weights=RNG.normal(size=G).tolist(), bias=-0.2, residual_sd=1.5),
        PrefixModel(tokens=8, weights=RNG.normal(size=G).tolist(), bias=0.1, residual_sd=0.5),
    ],
    samples=100,
    constrained_samples=10,
    score_quantiles=[0.1, 0.5, 0.5, 0.9],
    report={"auroc": 0.9},
    quantile_samples=40,
)
MODEL = ScoreModel(CALIBRATION)

rows = st.lists(st.floats(-1e3, 1e3), min_size=F, max_size=F).map(np.array)


# The file


def written(tmp_path: Path, **changes: Any) -> Path:
    """A calibration file with some fields changed; a change to None leaves the field out."""
    path = tmp_path / "calibration.json"
    save_calibration(CALIBRATION, path)
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return path


def test_a_saved_calibration_loads_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    save_calibration(CALIBRATION, path)
    assert load_calibration(path) == CALIBRATION


def test_a_file_of_version_2_loads(tmp_path: Path) -> None:
    loaded = load_calibration(written(tmp_path, version=2, quantile_samples=None, probe=None))
    assert loaded == msgspec.structs.replace(CALIBRATION, version=2, quantile_samples=None)


def prefix(**changes: Any) -> list[dict[str, Any]]:
    return [{"tokens": 2, "weights": [0.0] * G, "bias": 0.0, "residual_sd": 1.0, **changes}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "version is 1, allowed: 2, 3"),
        (
            {"version": 2},
            "feature_summary, draft_vocabularies, speculation need version 3",
        ),
        ({"quantile_samples": None}, "quantile_samples must be 0 or more"),
        ({"quantile_samples": -1}, "quantile_samples must be 0 or more"),
        ({"version": "1"}, "$.version"),
        ({"weight": [1.0]}, "unknown field `weight`"),
        ({"bias": None}, "missing required field `bias`"),
        ({"features": NAMES[1:]}, "features differ"),
        ({"features": [*NAMES[1:], NAMES[0]]}, "features differ"),
        ({"features": NAMES[:-1]}, "features differ"),
        ({"features": [*FEATURES, *NAMES[:-3:-1], *NAMES[F : F + 2]]}, "features differ"),
        ({"features": []}, "features differ"),
        ({"features": list(FEATURES)}, f"need {F} numbers"),
        ({"mean": [0.0] * (G - 1)}, f"need {G} numbers"),
        ({"scale": [1.0] * (G + 1)}, f"need {G} numbers"),
        ({"weights": []}, f"need {G} numbers"),
        ({"weights": ["heavy"] * G}, "$.weights[0]"),
        ({"scale": [0.0] + [1.0] * (G - 1)}, "scale must be positive"),
        ({"scale": [-1.0] * G}, "scale must be positive"),
        ({"prefix": prefix(weights=[0.0])}, f"need {G} numbers"),
        ({"constrained_samples": 101}, "constrained_samples must be from 0 to samples"),
        ({"constrained_samples": -1}, "constrained_samples must be from 0 to samples"),
        ({"score_quantiles": [0.5]}, "score_quantiles needs two or more"),
        ({"score_quantiles": [0.5, 0.4]}, "score_quantiles needs two or more"),
        ({"score_quantiles": [0.5, 1.1]}, "score_quantiles needs two or more"),
        ({"prefix": prefix(residual_sd=0.0)}, "residual_sd must be positive"),
        ({"prefix": prefix(tokens="two")}, "$.prefix[0].tokens"),
        ({"prefix": prefix(surprise=1)}, "unknown field `surprise` - at `$.prefix[0]`"),
    ],
    ids=lambda case: ",".join(case) if isinstance(case, dict) else "",
)
def test_a_calibration_that_does_not_fit_is_one_line_with_file_and_place(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(ConfigError) as raised:
        load_calibration(path)
    assert str(path) in str(raised.value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"version": NaN}', b"\xff\xfe"],
    ids=["empty", "cut-off", "list", "null", "nan", "binary"],
)
def test_a_file_that_is_no_calibration_is_one_line_with_its_name(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)):
        load_calibration(path)


@pytest.mark.parametrize("name", ["missing.json", "."], ids=["missing", "directory"])
def test_a_file_that_cannot_be_read_is_one_line_with_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_calibration(tmp_path / name)


def test_a_calibration_is_of_a_tier_at_its_place(tmp_path: Path) -> None:
    path = str(written(tmp_path))
    assert load_calibrations({2: path}) == {2: CALIBRATION}
    for tier in (0, 1, 3):
        with pytest.raises(ConfigError, match=f"behind 2 tiers, but this tier is behind {tier}"):
            load_calibrations({tier: path})


# The score


def plain_log_odds(row: np.ndarray, weights: list[float], bias: float) -> float:
    columns = [*row.tolist(), float(logit(0.3)), 0.0, 0.0, 1.0]  # what EARLIER says
    terms = zip(weights, columns, CALIBRATION.mean, CALIBRATION.scale, strict=True)
    return bias + math.fsum(w * (x - mean) / scale for w, x, mean, scale in terms)


@given(st.lists(st.floats(-3.0, 3.0), min_size=F, max_size=F).map(np.array))
def test_the_score_is_the_logistic_of_standardised_features(row: np.ndarray) -> None:
    log_odds = plain_log_odds(row, CALIBRATION.weights, CALIBRATION.bias)
    assert MODEL.score(row, EARLIER) == pytest.approx(1 / (1 + math.exp(-log_odds)), rel=1e-9)


@given(rows)
def test_the_score_is_a_probability(row: np.ndarray) -> None:
    assert 0.0 <= MODEL.score(row, EARLIER) <= 1.0


@pytest.mark.parametrize("size", [1e3, 1e30, 1e300], ids=lambda s: f"{s:.0e}")
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["plus", "minus"])
def test_features_far_out_do_not_overflow(size: float, sign: float) -> None:
    row = np.zeros(F)
    row[0] = sign * size * np.sign(CALIBRATION.weights[0])
    assert MODEL.score(row, EARLIER) == pytest.approx(1.0 if sign > 0 else 0.0, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_feature_that_is_not_finite_leaves_no_score_and_ends_nothing(bad: float) -> None:
    for feature in range(F):
        row = np.zeros(F)
        row[feature] = bad
        assert math.isnan(MODEL.score(row, EARLIER)), FEATURES[feature]
        assert not MODEL.chance_of_acceptance(2, row, 0.5, EARLIER) < 0.05, FEATURES[feature]


# The chance of acceptance


@given(rows, st.floats(0.001, 0.999), st.sampled_from(CALIBRATION.prefix))
def test_the_chance_is_that_of_a_normal_log_odds_above_the_threshold(
    row: np.ndarray, threshold: float, model: PrefixModel
) -> None:
    expected = plain_log_odds(row, model.weights, model.bias)
    final = NormalDist(expected, model.residual_sd)
    chance = MODEL.chance_of_acceptance(model.tokens, row, threshold, EARLIER)
    assert chance == pytest.approx(1 - final.cdf(math.log(threshold / (1 - threshold))), abs=1e-9)


@given(rows, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_higher_threshold_never_has_the_better_chance(
    row: np.ndarray, first: float, second: float
) -> None:
    low, high = sorted((first, second))
    chances = [MODEL.chance_of_acceptance(2, row, t, EARLIER) for t in (low, high)]
    assert 0.0 <= chances[1] <= chances[0] <= 1.0


def test_only_the_fitted_lengths_are_checkpoints() -> None:
    assert [n for n in range(20) if MODEL.has_checkpoint(n)] == [2, 8]


@pytest.mark.parametrize("earlier_scores", [(), (0.5,), (0.5, 0.5, 0.5)])
def test_scores_of_more_or_fewer_tiers_than_were_fitted_are_refused(
    earlier_scores: tuple[float, ...],
) -> None:
    with pytest.raises(ValueError, match="mismatch"):
        MODEL.score(np.zeros(F), earlier_scores)
