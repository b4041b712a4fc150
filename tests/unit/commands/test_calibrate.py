"""`cascadia calibrate` before and after its server: arguments, costs, resumed records."""

import json
from pathlib import Path

import pytest

from cascadia_sglang.calibration.fit.split import part_of
from cascadia_sglang.calibration.record.sample import prompt_key, read_sample
from cascadia_sglang.cli import main
from cascadia_sglang.config.cascade_file import load_cascade, load_uncalibrated
from cascadia_sglang.config.routing_settings import DraftsConfig
from cascadia_sglang.errors import CalibrationError, ConfigError
from cascadia_sglang.judge.calibration import load_calibration
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.planner.thresholds.sample import load_plan_sample
from tests.unit.commands.recorded import HIDDEN, write_drafts, write_records, write_sample


@pytest.fixture
def cascade(tmp_path: Path) -> Path:
    """A cascade file whose calibrations do not exist yet, and that has no thresholds."""
    tiers = [
        {"name": name, "model_path": f"demo/models/{name}", "calibration": f"{name}.json"}
        for name in ("small", "large")
    ]
    path = tmp_path / "cascade.json"
    path.write_text(json.dumps({"version": 1, "tiers": tiers}))
    return path


def test_a_cascade_is_recorded_before_it_has_calibrations(cascade: Path) -> None:
    config = load_uncalibrated(cascade)
    assert config.judge.record
    assert config.calibrations() == {}
    assert config.routing.thresholds == [0.0]


def test_what_else_is_wrong_with_a_cascade_is_still_said(tmp_path: Path) -> None:
    path = tmp_path / "cascade.json"
    for broken, message in (
        ({"version": 1, "tiers": [{"name": "a b", "model_path": "a/b"}]}, r"tiers\[0\]\.name"),
        ({"version": 1, "tiers": 3}, "tiers"),
        ({"version": 1, "tiers": [7]}, r"tiers\[0\]"),
        ({"version": 1, "tiers": [], "judge": 5}, "judge"),
        ([], "array"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(ConfigError, match=message):
            load_uncalibrated(path)


def test_whole_records_are_calibrated_without_a_server(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--escalation-rate", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "starting the server" not in captured.err
    assert "routing: thresholds: [0." in captured.out
    assert "small: at most" in captured.out
    assert "with 95 % confidence" in captured.out
    calibration = load_calibration(out / "small.json")
    weights = dict(zip(calibration.features, calibration.weights, strict=True))
    assert max(weights, key=lambda name: abs(weights[name])) == FEATURES[0]
    report = json.loads((out / "report.json").read_text())
    small, large = report["settings"]["tier_cost"]
    assert small == 1.0 < large
    assert (
        f"cost of an answer: small 1, large {large:.3g}; its tokens times step times"
        in captured.err
    )
    assert report["chosen"]["shares"][1] <= 0.5


def test_quality_shares_and_cost_are_printed(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--escalation-rate", "0.5", "--tier-cost", "small=1,large=4"]) == 0
    *_, held_out, reached, target = capsys.readouterr().out.splitlines()
    report = json.loads((out / "report.json").read_text())["held_out"]
    last = report["quality"] + report["loss"]
    assert held_out == (
        f"held out, {report['prompts']} prompts: quality {report['quality']:.4f} (large alone "
        f"{last:.4f}), cost {report['cost']:.4g} (large alone 4)"
    )
    assert reached == f"held out, reached: small 100.0%, large {report['shares'][1]:.1%}"
    assert target == "target escalation rate at most 0.5: kept on the prompts held out"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target-quality", "0.8"], "target quality at least 0.8: not shown with this sample"),
        (["--max-loss", "0.02"], "target loss at most 0.02: not shown with this sample: about "),
        ([], "target loss at most 0.01: not shown with this sample: about "),
    ],
)
def test_a_target_that_the_sample_does_not_show_is_code_4_with_everything_written(
    cascade: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    data, out = write_sample(tmp_path, 300), tmp_path / "out"
    write_records(cascade, data, out)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, *flags]) == 4
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].startswith(message)
    assert (out / "calibrated.yaml").is_file()
    assert json.loads((out / "report.json").read_text())["verdict"]["is_reached"] is False


def test_as_many_prompts_as_were_asked_for_mostly_show_the_target(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number that is told is enough: 300 prompts name it, and so many more reach the target."""
    arguments = ["calibrate", str(cascade), "--max-loss", "0.05"]
    counts = [300]
    for name in ("few", "many"):
        folder = tmp_path / name
        folder.mkdir()
        data = write_sample(folder, counts[-1])
        write_records(cascade, data, folder / "out")
        code = main([*arguments, "--data", str(data), "--out", str(folder / "out")])
        verdict = json.loads((folder / "out" / "report.json").read_text())["verdict"]
        assert verdict["is_reached"] is (name == "many"), capsys.readouterr().out
        assert code == (0 if name == "many" else 4)
        counts.append(counts[-1] + (verdict["more"] or 0))
    assert counts[1] > 300


def test_a_ready_cascade_file_lies_beside_the_calibrations(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(cascade.read_text())
    config["tiers"][1]["server_args"] = {"max_total_tokens": 65536}
    config["routing"] = {"max_attempts": 5, "thresholds": [0.123]}
    cascade.write_text(json.dumps(config))
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--escalation-rate", "0.5"]) == 0
    captured = capsys.readouterr()
    ready = out / "calibrated.yaml"
    assert f"cascade file: {ready}\n" in captured.out
    assert "cannot be served" not in captured.err
    assert main(["validate", str(ready)]) == 0
    made = load_cascade(ready)
    report = json.loads((out / "report.json").read_text())
    assert made.routing.thresholds == report["thresholds"]
    assert made.routing.max_attempts == 5
    assert made.calibrations() == {0: str(out / "small.json"), 1: str(out / "large.json")}
    assert made.tiers[1].server_args == {"max_total_tokens": 65536}
    assert Path(made.tiers[0].model_path).samefile("demo/models/small")
    # It is a cascade file like any other: calibrating it again asks nothing anew.
    assert load_uncalibrated(ready).tiers[0].name == "small"


def test_what_the_sample_can_promise_is_said_before_anything_is_asked(
    cascade: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the server does not start."""
    data, out = write_sample(tmp_path, 300), tmp_path / "out"
    parts = [part_of(prompt_key(question)) for question in read_sample(data)]
    certifying = parts.count("certify")

    def broken(*_: object, **__: object) -> None:
        raise CalibrationError("no server")

    monkeypatch.setattr("cascadia_sglang.calibration.record.session.recording_server", broken)
    assert main(["calibrate", str(cascade), "--data", str(data), "--out", str(out)]) == 2
    *_, sample, best, target, labels, start, error = capsys.readouterr().err.splitlines()
    assert sample.startswith("300 labelled prompts: ")
    assert best.startswith(f"with {certifying} to certify, at best: no risk below ")
    risk = 100 * (1 - 0.05 ** (1 / certifying))
    assert float(best.split(" no risk below ")[1].split()[0]) == pytest.approx(risk, abs=0.01)
    assert target.startswith("target loss 0.01: even the best case needs 368 to certify: about ")
    assert labels == "labels: words 300"
    assert start.startswith("starting the server")
    assert error == "cascadia calibrate: no server"


@pytest.mark.parametrize(("count", "more"), [(5, "about "), (60, "about ")])
def test_a_sample_too_small_is_refused_before_anything_is_asked(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, more: str
) -> None:
    data, out = write_sample(tmp_path, count), tmp_path / "out"
    parts = [part_of(prompt_key(question)) for question in read_sample(data)]
    short = 30 - min(parts.count(name) for name in ("fit", "choose", "certify"))
    assert main(["calibrate", str(cascade), "--data", str(data), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"cascadia calibrate: the sample has {count} labelled prompts, by their hashes "
        f"{parts.count('fit')} to fit, {parts.count('choose')} to choose, "
        f"{parts.count('certify')} to certify; 30 of each are needed: {more}{3 * short} more "
        "prompts\n"
    )
    assert not out.exists()


def test_an_out_that_is_no_folder_is_refused_before_anything_is_asked(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_sample(tmp_path, 600)
    assert main(["calibrate", str(cascade), "--data", str(data), "--out", str(data)]) == 2
    assert f"--out {data}: File exists" in capsys.readouterr().err


def test_equal_prompts_under_other_ids_stay_in_one_part_and_are_counted(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_sample(tmp_path, 600, prompts=150), tmp_path / "out"
    write_records(cascade, data, out)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--escalation-rate", "0.5"]) == 0
    assert "450 questions repeat an earlier prompt" in capsys.readouterr().err
    keys = {prompt_key(question) for question in read_sample(data)}
    kept = {row.prompt for row in load_plan_sample(out / "sample.json", ["small", "large"]).rows}
    assert kept == {key for key in keys if part_of(key) != "fit"}
    report = json.loads((out / "report.json").read_text())
    assert report["prompts"]["fit"] == 4 * (len(keys) - len(kept))
    assert sum(report["repeats"].values()) == 450
    assert "450 of them repeat an earlier one" in (out / "report.md").read_text()


def test_a_cascade_that_reads_drafts_gets_a_second_judge(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(cascade.read_text())
    # What a file says of a calibration that does not exist yet is not looked at.
    config["routing"] = {"drafts": {"use": "auto", "low": 0.9, "second_judge": 0.1}}
    config["tiers"][1]["draft_calibration"] = "nowhere.json"
    cascade.write_text(json.dumps(config))
    data, out = write_sample(tmp_path, 1200), tmp_path / "out"
    write_records(cascade, data, out)
    write_drafts(cascade, data, out, [0.9, 0.5])
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--escalation-rate", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "starting the server" not in captured.err
    assert f"tier large: draft_calibration: {out / 'large.draft.json'}" in captured.out
    assert "routing: drafts: low: 0\n" in captured.out
    start = "routing: drafts: second_judge"
    (high,) = [line for line in captured.out.splitlines() if line.startswith(start)]
    assert 0.5 <= float(high.split()[-1]) < 1.0
    judge = load_calibration(out / "large.draft.json")
    assert judge.earlier_tiers == 1
    assert judge.report["high"] == pytest.approx(float(high.split()[-1]), rel=1e-5)
    assert 0 < judge.report["held_out_confirmed"] <= judge.report["held_out"]
    weights = dict(zip(judge.features, judge.weights, strict=True))
    assert max(weights, key=lambda name: abs(weights[name])) == FEATURES[1]
    made = load_cascade(out / "calibrated.yaml")
    assert made.draft_calibrations() == {1: str(out / "large.draft.json")}
    assert made.routing.drafts == DraftsConfig(
        use="auto", low=0.0, second_judge=float(high.split()[-1])
    )


def test_a_target_out_of_reach_ends_with_one_line(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--target-quality", "0.9999"]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith(
        "cascadia calibrate: no thresholds give quality 0.9999"
    )
    assert captured.err.count("cascadia calibrate") == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--label", "fuzzy"], "--label 'fuzzy' is unknown"),
        (["--tier-cost", "small=1"], "tier cost 'small=1' needs one number above 0 for each"),
        (["--data", "/nowhere.jsonl"], "sample /nowhere.jsonl: No such file"),
    ],
)
def test_bad_arguments_end_before_anything_starts(
    cascade: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    message: str,
) -> None:
    out = tmp_path / "out"
    data = write_sample(tmp_path, 3)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out), *extra]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_two_targets_are_refused(cascade: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["calibrate", str(cascade), "--data", "x", "--out", "y"]
    with pytest.raises(SystemExit):
        main([*arguments, "--target-quality", "0.9", "--escalation-rate", "0.5"])
    assert "not allowed with" in capsys.readouterr().err


def test_server_flags_with_an_open_quote_are_one_line(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(cascade), "--data", str(write_sample(tmp_path, 600))]
    assert main([*words, "--out", str(tmp_path / "out"), "--server-flags", "--x 'a"]) == 2
    error = capsys.readouterr().err
    assert error == 'cascadia calibrate: --server-flags is "--x \'a": No closing quotation\n'


def test_a_probe_is_fitted_to_recorded_hidden_states_and_served(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out, hidden=True)
    asked = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    asked += ["--escalation-rate", "0.5"]
    assert main([*asked, "--probe"]) == 0
    output = capsys.readouterr().out
    assert "tier small: a probe is used: log loss " in output
    probe = load_calibration(out / "small.json").probe
    assert probe is not None
    assert probe.hidden == HIDDEN
    assert load_calibration(out / "large.json").probe is None
    assert "a probe is used" in (out / "report.md").read_text()
    report = json.loads((out / "report.json").read_text())
    [tried] = report["probes"]
    assert (tried["tier"], tried["is_used"]) == ("small", True)
    assert tried["loss_with"] + tried["gain_low95"] < tried["loss_without"]
    assert report["tiers"][0]["by"]["score"]["auroc"]["value"] > 0.97
    ready = out / "calibrated.yaml"
    assert main(["validate", str(ready)]) == 0
    served = load_cascade(ready)
    assert not served.judge.record
    assert not served.judge.record_hidden


def test_hidden_states_of_an_earlier_run_count_only_where_a_probe_is_asked_for(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    write_records(cascade, data, out, hidden=True)
    arguments = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--escalation-rate", "0.5"]) == 0
    assert "probe" not in capsys.readouterr().out
    assert load_calibration(out / "small.json").probe is None
    assert json.loads((out / "report.json").read_text())["probes"] == []


def test_a_cascade_of_which_no_tier_can_have_a_probe_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "alone.json"
    tiers = [{"name": "alone", "model_path": "demo/models/small"}]
    path.write_text(json.dumps({"version": 1, "tiers": tiers}))
    arguments = ["calibrate", str(path), "--data", str(write_sample(tmp_path, 200)), "--probe"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "a probe is asked for, and no tier can have one" in capsys.readouterr().err
