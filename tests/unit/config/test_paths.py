"""Paths in a cascade file: where they are looked for, and how a file is moved."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.config.cascade_file import load_cascade, read_cascade
from cascadia_sglang.config.paths import moved, with_paths
from cascadia_sglang.errors import ConfigError
from tests.repo.source import ROOT

Data = dict[str, Any]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and files; the working directory is another one."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in ("models/small", "models/large", "models/drafter", "calibration"):
        (project / folder).mkdir(parents=True)
    for file in ("calibration/small.json", "entry.json", "profile.json", "sample.json"):
        (project / file).write_text("{}")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return project


def cascade(folder: Path, **changed: Any) -> Path:
    """A file that names something of every kind, relative to its folder."""
    data: Data = {
        "version": 1,
        "tiers": [
            {
                "name": "small",
                "model_path": "models/small",
                "calibration": "calibration/small.json",
                "server_args": {
                    "speculative_algorithm": "EAGLE",
                    "speculative_draft_model_path": "models/drafter",
                },
            },
            {
                "name": "large",
                "model_path": "models/large",
                "draft_calibration": "calibration/small.json",
            },
        ],
        "routing": {"thresholds": [0.8], "entry_model": "entry.json"},
        "planner": {
            "profile": "profile.json",
            "emulate": "profile.json",
            "sample": "sample.json",
            "quality_floor": 0.5,
            "log": "decisions.jsonl",
        },
        **changed,
    }
    path = folder / "cascade.json"
    path.write_text(json.dumps(data))
    return path


def paths_of(path: Path) -> list[str | None]:
    config = load_cascade(path)
    small, large = config.tiers
    return [
        small.model_path,
        small.calibration,
        large.model_path,
        large.draft_calibration,
        small.server_args["speculative_draft_model_path"],
        config.routing.entry_model,
        config.planner.profile,
        config.planner.emulate,
        config.planner.sample,
        config.planner.log,
    ]


NAMES = [
    *("models/small", "calibration/small.json", "models/large", "calibration/small.json"),
    *("models/drafter", "entry.json", "profile.json", "profile.json", "sample.json"),
    "decisions.jsonl",
]


def test_paths_are_relative_to_the_file(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert paths_of(cascade(project)) == [str(project / name) for name in NAMES]
    assert caplog.messages == []


def test_in_the_files_own_folder_they_stay_as_they_are(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded answers are known by the path of their model: an old run goes on."""
    path = cascade(project)
    monkeypatch.chdir(project)
    assert paths_of(path) == NAMES
    assert paths_of(Path("cascade.json")) == NAMES


def test_a_path_from_the_working_directory_works_with_one_warning(
    project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    path = cascade(tmp_path / "files")
    monkeypatch.chdir(project)
    (project / "decisions.jsonl").write_text("")
    assert paths_of(path) == NAMES
    load_cascade(path)
    (line,) = caplog.messages
    assert line == (
        f"cascade file {path}: tiers[0].model_path 'models/small' and 9 more: found from the "
        "working directory, not from the file's folder; write paths relative to the file"
    )


def test_the_file_wins_over_the_working_directory(
    project: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere/models/small").mkdir(parents=True)
    assert paths_of(cascade(project))[0] == str(project / "models/small")
    assert caplog.messages == []


def test_a_hub_name_and_an_absolute_path_stay(project: Path) -> None:
    tiers = [
        {"name": "small", "model_path": "Qwen/Qwen3-0.6B", "calibration": "calibration/small.json"},
        {"name": "large", "model_path": str(project / "models/large")},
    ]
    config = load_cascade(cascade(project, tiers=tiers, planner={}))
    assert [tier.model_path for tier in config.tiers] == [
        "Qwen/Qwen3-0.6B",
        str(project / "models/large"),
    ]


def test_what_is_nowhere_is_named_where_it_is_looked_for(project: Path) -> None:
    tiers = [{"name": "only", "model_path": "models/that/are/none"}]
    path = cascade(project, tiers=tiers, planner={}, routing={})
    with pytest.raises(ConfigError) as raised:
        load_cascade(path)
    missing = str(project / "models/that/are/none")
    assert f"tiers[0].model_path {missing!r} does not exist" in str(raised.value)


def test_the_log_is_written_beside_the_file_or_in_a_folder_that_is_there(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_cascade(cascade(project)).planner.log == str(project / "decisions.jsonl")
    (tmp_path / "elsewhere/logs").mkdir()
    path = cascade(project, planner={"log": "logs/decisions.jsonl"})
    assert load_cascade(path).planner.log == "logs/decisions.jsonl"
    assert caplog.messages[0].startswith(f"cascade file {path}: planner.log")
    (project / "logs").mkdir()
    assert load_cascade(path).planner.log == str(project / "logs/decisions.jsonl")


def test_the_folder_of_the_state_need_not_be_there(project: Path) -> None:
    path = project / "cascade.json"
    path.write_text(json.dumps({"tiers": [], "state": "kept"}))
    assert read_cascade(path).data["state"] == str(project / "kept")


def test_a_file_in_another_folder_names_the_same_files(project: Path) -> None:
    path = cascade(project)
    (project / "out").mkdir()
    data = moved(read_cascade(path).data, project / "out")
    assert data["tiers"][0]["model_path"] == str(project / "models/small")
    (project / "out/cascade.json").write_text(json.dumps(data))
    assert paths_of(project / "out/cascade.json") == [str(project / name) for name in NAMES]


def test_a_moved_file_has_relative_paths_where_the_old_one_had(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade(project)
    (project / "out").mkdir()
    monkeypatch.chdir(project)
    data = moved(read_cascade(Path("cascade.json")).data, Path("out"))
    assert data["tiers"][0]["model_path"] == "../models/small"
    assert data["planner"]["log"] == "../decisions.jsonl"


@pytest.mark.parametrize("data", [[], {"tiers": 3}, {"tiers": [7]}, {"tiers": [], "routing": 5}])
def test_what_is_no_cascade_is_left_to_the_checks(project: Path, data: Any) -> None:
    path = project / "cascade.json"
    path.write_text(json.dumps(data))
    assert read_cascade(path).data == data


def test_the_old_path_of_the_demo_still_gives_the_same_cascade() -> None:
    old, new = (
        with_paths(
            read_cascade(ROOT / name / "cascade.yaml").data, lambda _, path: os.path.normpath(path)
        )
        for name in ("bench/ladder", "demo")
    )
    assert old == new
    assert load_cascade(ROOT / "bench/ladder/cascade.yaml").tiers[0].calibration is not None


DEMO_FILES = ["demo/cascade.yaml", "bench/ladder/cascade.yaml", "bench/planner/emulated.yaml"]


@pytest.mark.parametrize("name", DEMO_FILES)
def test_the_demo_loads_from_anywhere(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_cascade(ROOT / name).tiers) == 3
    assert caplog.messages == []
