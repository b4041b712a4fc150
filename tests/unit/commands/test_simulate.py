"""`cascadia simulate` and the estimate of `cascadia profile`, from files to what they print."""

import json

import pytest

from cascadia_sglang.cli import main

PROFILE = {
    "version": 1,
    "device": "made up",
    "tiers": {
        name: {"decode_ms": [[1, 10.0], [64, 10.0]], "prefill_ms": [[1, 100.0], [9999, 100.0]]}
        for name in ("small", "large")
    },
    "limits": {
        name: {"kv_tokens": 9000, "max_running_requests": 64} for name in ("small", "large")
    },
}
PLAN = {
    "version": 1,
    "profile": "profile.json",
    "tiers": [{"name": "small"}, {"name": "large", "share": 0.5, "replicas": 2}],
    "slo": {"e2e_ms": 125.0},
}
TRACE = "timestamp,input_tokens,output_tokens\n" + "".join(
    f"{10 * number},10,3\n" for number in range(40)
)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    (tmp_path / "trace.csv").write_text(TRACE)
    return tmp_path


def _run(files, *more):
    words = ["--plan", str(files / "plan.json"), "--trace", str(files / "trace.csv"), *more]
    return main(["simulate", *words])


def test_a_simulation_says_who_answered_when(files, capsys):
    assert _run(files, "--json") == 0
    simulated = json.loads(capsys.readouterr().out)
    assert simulated["answered"] == simulated["requests"] == 40
    climbed = simulated["tiers"][1]["answered"]
    assert 0.2 < climbed < 0.8
    assert simulated["tiers"][1]["reached"] == climbed
    # 120 ms a tier.
    assert simulated["e2e_ms"]["mean"] == pytest.approx(120 * (1 + climbed))
    assert simulated["slo_attainment"] == pytest.approx(1 - climbed)


def test_a_simulation_without_json_is_a_page(files, capsys):
    assert _run(files, "--rate", "5", "--requests", "20") == 0
    page = capsys.readouterr().out
    assert "20 requests at 5/s on measured: made up" in page
    assert "large: reached by" in page


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tiers": [{"name": "huge"}]}, "has no step times of 'huge', it has: large, small"),
        ({"tiers": [{"name": "small", "share": 0.5}]}, "shares that begin at 1"),
        ({"speed": 1}, "unknown field `speed`"),
        ({"profile": "none.json"}, "none.json: No such file"),
    ],
)
def test_a_plan_that_does_not_fit_is_one_line_and_exit_2(files, capsys, change, says):
    (files / "plan.json").write_text(json.dumps({**PLAN, **change}))
    assert _run(files) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rate", "0"], "the rate is 0.0 requests/s"),
        (["--rate", "nan"], "the rate is nan requests/s"),
        (["--requests", "1"], "has 1 requests"),
    ],
)
def test_a_rate_or_a_part_that_says_nothing_is_one_line(files, capsys, words, says):
    assert _run(files, *words) == 2
    assert says in capsys.readouterr().err


def test_an_estimate_takes_the_hosts_time_for_a_step(tmp_path):
    out = tmp_path / "h100.json"
    words = ["tests/system/cascade.yaml", "--out", str(out), "--gpu", "H100"]
    assert main(["profile", *words, "--host-step-ms", "3"]) == 0
    profile = json.loads(out.read_text())
    assert profile["host"]["step_ms"] == 3.0
    assert profile["tiers"]["small"]["decode_ms"][0] == [1, 3.0]


def test_an_estimated_profile_says_that_it_was_not_measured(tmp_path, capsys):
    out = tmp_path / "h100.json"
    words = ["tests/system/cascade.yaml", "--out", str(out), "--gpu", "H100"]
    assert main(["profile", *words]) == 0
    assert json.loads(out.read_text())["source"] == "roofline"
    assert "NOT MEASURED" in capsys.readouterr().err
