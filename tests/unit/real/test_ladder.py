"""The ready cascade of two tokenizers: its sample, and where its results go."""

import json

import yaml

from bench.real.calibrations.ladder import CALIBRATIONS, EXAMPLE, TIERS, into_example, sample_lines
from bench.real.question_sets import question_set
from cascadia_sglang.calibration.fit.split import part_of
from cascadia_sglang.calibration.record.labels import DEFAULT, Labeler
from cascadia_sglang.calibration.record.sample import prompt_key, read_sample


def test_the_sample_has_enough_of_every_part_and_can_be_labelled(tmp_path):
    path = tmp_path / "sample.jsonl"
    path.write_text(sample_lines(question_set("short", 300)))
    questions = read_sample(path)
    parts = [part_of(prompt_key(question)) for question in questions]
    assert min(parts.count(part) for part in ("fit", "choose", "certify")) > 80
    assert sum(Labeler(DEFAULT).check(questions).values()) == 300
    assert len({question.group for question in questions}) == 8


def test_results_stand_in_the_example_in_place_of_what_it_says():
    text = EXAMPLE.read_text()
    before = yaml.safe_load(text)
    after = yaml.safe_load(into_example(text, [0.25, 1 / 3]))
    assert [tier["name"] for tier in before["tiers"]] == list(TIERS)
    assert after["routing"]["thresholds"] == [0.25, 0.333333]
    for tier in after["tiers"][:-1]:
        assert tier["calibration"] == f"{CALIBRATIONS.name}/{tier['name']}.json"
    assert "calibration" not in after["tiers"][-1]
    for data in (before, after):
        data.pop("routing")
        for tier in data["tiers"]:
            tier.pop("calibration", None)
    assert after == before
    # A second run replaces the results of the first.
    again = into_example(into_example(text, [0.9, 0.9]), [0.25, 1 / 3])
    assert again == into_example(text, [0.25, 1 / 3])


def test_every_reference_of_a_question_counts():
    (line,) = sample_lines(question_set("short", 1)).splitlines()
    question = question_set("short", 1)[0]
    data = json.loads(line)
    assert tuple(data["reference"]) == question.answers
    assert data["messages"] == list(question.messages)
