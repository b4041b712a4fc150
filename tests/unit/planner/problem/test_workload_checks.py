"""What a problem with a workload may not say, each one line that names the place."""

import pytest

from bench.planner.fleet import LLAMA_8B
from cascadia_sglang.planner.problem.checks import problems_of
from tests.unit.planner.whole_problems import workload_problem

SOURCE = {"rate_per_s": 6.0, "input_tokens": 400, "output_tokens": 60}
TIERS = [{"name": "small", "model": LLAMA_8B}, {"name": "large", "model": LLAMA_8B}]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"workload": {**SOURCE, "rate_per_s": 0}}, "workload.rate_per_s is 0"),
        ({"workload": {"rate_per_s": 1.0}}, "workload.input_tokens is missing"),
        ({"workload": {**SOURCE, "input_tokens": 0.5}}, "workload.input_tokens is 0.5"),
        ({"workload": {**SOURCE, "requests": 1}}, "workload.requests is 1"),
        ({"workload": {**SOURCE, "length_cv": -1}}, "workload.length_cv is -1"),
        ({"workload": {**SOURCE, "trace": "t.csv"}}, "input_tokens is given beside a trace"),
        ({"workload": {**SOURCE, "block_tokens": 0}}, "workload.block_tokens is 0"),
        ({"cluster": []}, "workload needs gpu or cluster"),
        ({"calibration": []}, "workload needs calibration"),
        ({"latency_by_share_s": [{}, {}]}, "latency_by_share_s or workload, not both"),
        ({"tiers": [{"name": "small"}, TIERS[1]]}, "tiers[0].model is missing"),
        ({"tiers": [{**TIERS[0], "max_tp": 0}, TIERS[1]]}, "tiers[0].max_tp is 0"),
        ({"tiers": [{**TIERS[0], "length": 0}, TIERS[1]]}, "tiers[0].length is 0"),
        ({"tiers": [{**TIERS[0], "prompt_length": 0}, TIERS[1]]}, "tiers[0].prompt_length is 0"),
        ({"tiers": [TIERS[0], {**TIERS[1], "kept": 1.5}]}, "tiers[1].kept is 1.5"),
        ({"tiers": [{**TIERS[0], "kept": 0.5}, TIERS[1]]}, "tiers[0].kept is 0.5, allowed: null"),
        (
            {"tiers": [{**TIERS[0], "pool": "p"}, {**TIERS[1], "pool": "p", "max_tp": 2}]},
            "tiers[1].max_tp is not that of 'small'",
        ),
        (
            {"tiers": [{**TIERS[0], "pool": "p"}, {**TIERS[1], "pool": "p", "prompt_length": 2.0}]},
            "tiers[1].prompt_length is not that of 'small'",
        ),
        ({"profiles": [{"path": "p.json", "gpu": "T4"}]}, "profiles[0].gpu is 'T4'"),
        ({"profiles": [{"path": "p.json", "tp_size": 0}]}, "profiles[0].tp_size is 0"),
        ({"profiles": [{"path": "p"}, {"path": "q"}]}, "profiles[1] is of the same shape"),
        ({"gpu": {"name": "H100", "tflops": -1}}, "gpu.tflops is -1"),
        ({"gpu": {"name": "T4"}}, "gpu.name is 'T4', which cluster does not list"),
        ({"slo": {"ttft_ms": 0}}, "slo.ttft_ms is 0"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(changes, says):
    problems = list(problems_of(workload_problem(**changes)))
    assert any(says in line for line in problems), problems


def test_the_example_has_no_problems():
    assert list(problems_of(workload_problem())) == []
