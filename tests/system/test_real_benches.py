"""The benches on real models, with two tiny ones of a real architecture and 150,016 tokens."""

import os
import subprocess
import sys

import pytest

from bench.real.live.choice import ROUTER
from bench.real.question_sets import SETS
from bench.real.record import SMOKE_SIZE
from bench.rivals.systems import CASCADE, PROXY
from tests.system.large_vocabulary import save_model
from tests.system.serving import ROOT, free_port
from tests.system.twins import permuted

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

DEADLINE_S = 400


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    for seed, (tier, layers) in enumerate((("small", 1), ("large", 2))):
        save_model(folder / tier, seed, layers)
    return ["--small", str(folder / "small"), "--large", str(folder / "large")]


def run(module: str, *arguments: str) -> str:
    """What a bench prints; it must succeed."""
    command = [sys.executable, "-m", f"bench.{module}", "--smoke", *arguments]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_answers_are_recorded_token_by_token_and_labelled(models: list[str]) -> None:
    printed = run("real.record", *models[:2]).splitlines()
    counts = dict.fromkeys(SETS, 0)
    for line in printed:
        counts[line.split(", ")[1]] += int(line.rpartition("n ")[2])
    assert counts == dict.fromkeys(SETS, SMOKE_SIZE)


def test_two_models_serve_by_flag_and_the_share_is_told(models: list[str]) -> None:
    printed = run("real.share", *models, "--port", str(free_port()))
    assert printed.count("Reply(") == 6
    assert "tier='small'" in printed


def test_two_models_serve_live_beside_a_proxy_and_a_router(models: list[str]) -> None:
    printed = run("real.live", *models, "--port", str(free_port()))
    closed, opened = printed.split("Open loops:")
    for system in (CASCADE, PROXY, ROUTER, "large alone"):
        # Settings or none, the closed loop, and where the CPU time goes.
        assert closed.count(f"\n| {system} |") == (2 if system == "large alone" else 3)
        assert opened.count(f"\n| {system} |") == 1
    assert f"| {CASCADE} / {PROXY} | requests per second |" in opened


def test_a_model_judges_answers_over_http(models: list[str]) -> None:
    printed = run("real.judge_model", *models[2:]).splitlines()
    assert len(printed) == 3 * SMOKE_SIZE
    verdicts = [float(line.rpartition(" ")[2]) for line in printed]
    assert all(0.0 <= yes <= 1.0 for yes in verdicts)
    assert sum("right True" in line for line in printed) == 2 * SMOKE_SIZE


def test_answers_with_drafts_of_another_tokenizer_differ_only_at_near_ties(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The demo's large model under other token ids, behind the small one."""
    twin = permuted(ROOT / "demo/models/large", tmp_path_factory.mktemp("ladder") / "twin")
    small = str(ROOT / "demo/models/small")
    printed = run("drafts.ladder", "--tiny", small, "--large", str(twin)).splitlines()
    rows = [_row(line) for line in printed if line.startswith("small, twin; ")]
    values = {f"{variant}, {metric}": value for variant, metric, value in rows}
    assert values["with drafts, answers that read one"] == 1.0
    assert values["with drafts, of answers: kept"] > 0.0
    # Where answers differ, the two tokens are nearly as likely; the demo's mostly do not differ.
    assert values.get("with drafts, of them within 0.5 nat", 1.0) == 1.0
    assert 0.0 <= values["the tier alone, places within 0.5 nat"] < 0.5


def _row(line: str) -> tuple[str, str, float]:
    """Variant, metric and value of a printed row."""
    _, variant, rest = line.split(": ", 2)
    metric, _, value = rest.rpartition(": ")
    return variant, metric, float(value.split()[0])
