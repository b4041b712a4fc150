"""`cascadia calibrate` on the real server: what it records, writes and leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from bench.calibration.hidden import read_hidden
from cascadia_sglang.calibration.fit.split import part_of
from cascadia_sglang.calibration.record.records import DraftRecord, Record, RecordFile, pool_of
from cascadia_sglang.calibration.record.sample import Question, prompt_key, read_sample
from cascadia_sglang.cli import main
from cascadia_sglang.entry.model import load_entry_model
from cascadia_sglang.judge.calibration import load_calibrations
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.planner.thresholds.sample import load_plan_sample
from demo import MODELS
from demo.calibrate.answers import tier_answers
from demo.calibrate.decode import load_model
from demo.calibrate.observe import observe
from demo.tasks.splits import sample
from demo.tasks.tokenizer import EOS_ID, VOCABULARY, encode_prompt
from tests.system.serving import ROOT, gone

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

ROWS = sample("calibration", 11, 240)
CODE = "import sys; from cascadia_sglang.cli import main; sys.exit(main())"
# Where the CPU has instructions for bf16, both sides would round otherwise.
ARGS = {"dtype": "float32"}
TIERS = ("small", "middle")
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
# In fp32 the engine and a plain forward of a padded batch add up in another order.
TOLERANCE = 2e-3


def start(folder: Path, *extra: str) -> subprocess.Popen[str]:
    arguments = ["calibrate", str(folder / "cascade.json"), "--data", str(folder / "set.jsonl")]
    arguments += ["--out", str(folder / "out"), "--max-tokens", "128", *extra]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cascade of two tiers that was never calibrated, and a sample, half of it chats."""
    folder = tmp_path_factory.mktemp("calibrate")
    tiers = [
        {"name": name, "model_path": str(MODELS / name), "server_args": ARGS} for name in TIERS
    ]
    cascade = {"version": 1, "tiers": tiers, "routing": {"drafts": "on"}}
    (folder / "cascade.json").write_text(json.dumps(cascade))
    lines = []
    for number, row in enumerate(ROWS):
        question = {"id": str(number), "reference": row.answer, "group": row.family}
        if number % 2:
            question["messages"] = [{"role": "user", "content": row.prompt}]
            if number % 8 == 1:
                # As it comes from traffic; the demo's chat template shows its models no tools.
                question |= {"tools": TOOLS, "tool_choice": "auto", "model": "gpt-4o"}
                question |= {"temperature": 1.0, "stream": True}
        else:
            question["prompt"] = row.prompt
        lines.append(json.dumps(question))
    (folder / "set.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def first_output(folder: Path) -> tuple[str, str]:
    """What a first whole run wrote to stdout and stderr."""
    process = start(folder, "--escalation-rate", "0.5", "--probe")
    try:
        out, err = process.communicate(timeout=280)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out, err


def records(folder: Path, tier: str) -> list[Record]:
    stored = RecordFile(folder / "out" / "records.jsonl", Record).load().values()
    return sorted((r for r in stored if r.tier == tier), key=lambda record: int(record.id))


def test_every_tier_answers_everything_and_is_calibrated(folder, first_output) -> None:
    out, err = first_output
    assert f"middle: {len(ROWS)} of {len(ROWS)} answers" in err
    assert "routing: thresholds: [" in out
    paths = {0: str(folder / "out" / "small.json"), 1: str(folder / "out" / "middle.json")}
    present = {index: path for index, path in paths.items() if Path(path).exists()}
    loaded = load_calibrations(present)
    assert loaded[0].samples > 50
    assert "routing: entry_model: " in out
    assert load_entry_model(folder / "out" / "entry.json", TIERS).samples > 100


def test_a_ready_cascade_file_can_be_served(folder, first_output, capsys) -> None:
    ready = folder / "out" / "calibrated.yaml"
    assert f"cascade file: {ready}" in first_output[0]
    assert first_output[0].splitlines()[-1] == (
        "target escalation rate at most 0.5: kept on the prompts held out"
    )
    assert main(["validate", str(ready)]) == 0
    assert f"{ready} is valid: small, middle" in capsys.readouterr().out


@pytest.mark.usefixtures("first_output")
@pytest.mark.parametrize("tier", TIERS)
def test_engine_records_what_a_plain_forward_gives(folder, tier, monkeypatch) -> None:
    """The demo's calibrations are fitted on features computed without the engine."""
    monkeypatch.setattr("demo.calibrate.decode.precision", lambda: torch.float32)
    tier_records = records(folder, tier)
    seen = observe(MODELS / tier, ROWS)
    expected = tier_answers(seen)
    questions = [Question(id=record.id, prompt="x") for record in tier_records]
    (answers,) = pool_of(questions, [tier_records], [seen.correct_N.tolist()]).tiers
    # A tie between two tokens may be broken either way; then the answers differ, not the features.
    same_N = np.array([record.tokens[-1] for record in tier_records]) == seen.final_NS[:, 0]
    texts = [
        record.text.strip() == row.answer for record, row in zip(tier_records, ROWS, strict=True)
    ]
    same_N &= np.array(texts) == seen.correct_N
    assert same_N.mean() > 0.98
    assert_same(answers.features_NF[same_N], expected.features_NF[same_N])
    for tokens, rows_NF in answers.prefix_NF.items():
        assert_same(rows_NF[same_N], expected.prefix_NF[tokens][same_N])


def test_the_middle_tier_reads_every_draft_as_a_plain_forward_does(
    folder, first_output, monkeypatch
) -> None:
    monkeypatch.setattr("demo.calibrate.decode.precision", lambda: torch.float32)
    assert f"drafts: {len(ROWS)} of {len(ROWS)} answers" in first_output[1]
    assert "routing: drafts: low: " in first_output[0]
    model = load_model(MODELS / "middle")
    drafts = RecordFile(folder / "out" / "drafts.jsonl", DraftRecord).load().values()
    read = {int(draft.id): draft for draft in drafts if draft.features is not None}
    assert {draft.tier for draft in drafts} == {"middle"}
    assert len(read) > 0.9 * len(ROWS)
    for record in records(folder, "small"):
        draft = read.get(int(record.id))
        ids = [*(VOCABULARY[character] for character in record.text), EOS_ID]
        if draft is None or len(ids) != record.tokens[-1]:
            continue
        prompt_ids = encode_prompt(ROWS[int(record.id)].prompt)
        with torch.inference_mode():
            logits_TV = model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 : -1]
        logprobs_TV = logits_TV.double().log_softmax(dim=-1)
        logprob_T = logprobs_TV[range(len(ids)), ids]
        entropy_T = -(logprobs_TV.exp() * logprobs_TV).sum(dim=-1)
        expected = {
            "mean_logprob": logprob_T.mean().item(),
            "min_logprob": logprob_T.min().item(),
            "sum_logprob": logprob_T.sum().item(),
            "mean_entropy": entropy_T.mean().item(),
            "max_entropy": entropy_T.max().item(),
        }
        features = dict(zip(FEATURES, draft.features or [], strict=True))
        for name, value in expected.items():
            assert features[name] == pytest.approx(value, abs=TOLERANCE, rel=1e-3), record.id
        agrees_T = logits_TV.argmax(dim=-1) == torch.tensor(ids)
        agreed = int(agrees_T.long().cumprod(dim=0).sum())
        gap_T = logits_TV.topk(2, dim=-1).values.diff(dim=-1).abs().squeeze(-1)
        if gap_T.min() > TOLERANCE:
            assert draft.kept == pytest.approx(agreed / len(ids)), record.id


@pytest.mark.usefixtures("first_output")
def test_the_entry_model_is_fitted_on_the_ids_that_the_router_has(folder) -> None:
    """Texts are tokenised as they are, chats through the template; both give the same here."""
    for record in records(folder, "small"):
        assert record.prompt_ids == encode_prompt(ROWS[int(record.id)].prompt)
    assert all(record.prompt_ids is None for record in records(folder, "middle"))


def test_hidden_states_are_recorded_of_the_tier_that_may_have_a_probe(
    folder, first_output, monkeypatch
) -> None:
    """The middle one reads drafts, and is the last."""
    monkeypatch.setattr("demo.calibrate.decode.precision", lambda: torch.float32)
    assert "tier small: " in first_output[0]
    assert "probe" in first_output[0]
    assert all(record.hidden is None for record in records(folder, "middle"))
    states = [record.hidden for record in records(folder, "small")]
    found_NH = np.array([np.frombuffer(state, "<f2") for state in states if state is not None])
    expected_NH = read_hidden(MODELS / "small", ROWS).last_NH
    assert found_NH.shape == expected_NH.shape
    is_near_N = np.isclose(found_NH, expected_NH, rtol=1e-3, atol=TOLERANCE).all(axis=1)
    # A tie between two tokens may be broken either way; then the answers differ.
    assert is_near_N.mean() > 0.98


@pytest.mark.usefixtures("first_output")
def test_the_planners_sample_has_the_lengths_of_prompts_and_answers(folder) -> None:
    questions = read_sample(folder / "set.jsonl")
    rows = [row for row, question in enumerate(questions) if part_of(prompt_key(question)) != "fit"]
    made = load_plan_sample(folder / "out" / "sample.json", TIERS).rows
    small, middle = records(folder, "small"), records(folder, "middle")
    assert len(made) == len(rows)
    for row, number in zip(made, rows, strict=True):
        prompt_ids = small[number].prompt_ids
        assert prompt_ids is not None
        assert row.input_tokens == len(prompt_ids)
        assert row.output_tokens == [
            tier_records[number].tokens[-1] for tier_records in (small, middle)
        ]


@pytest.mark.usefixtures("first_output")
def test_advice_from_the_same_answers_asks_nothing_again(folder, tmp_path, capsys) -> None:
    tiers = [
        {
            "name": name,
            "model_path": str(MODELS / name),
            "calibration": str(folder / "out" / f"{name}.json"),
            "server_args": ARGS,
        }
        for name in TIERS[:1]
    ]
    last = {"name": TIERS[1], "model_path": str(MODELS / TIERS[1]), "server_args": ARGS}
    tiers.append(last)
    path = tmp_path / "cascade.json"
    cascade = {"version": 1, "tiers": tiers, "routing": {"thresholds": [0.5]}}
    path.write_text(json.dumps(cascade))
    arguments = ["advise", str(path), "--data", str(folder / "set.jsonl"), "--max-tokens", "128"]
    arguments += ["--out", str(folder / "out"), "--gpus", "4", "--rate", "50", "--workers", "0"]
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert "starting the server" not in captured.err
    advice = json.loads(captured.out)
    assert [option["tier"] for option in advice["alone"]] == list(TIERS)
    assert advice["choice"] in ("cascade", "router", *TIERS)


def assert_same(own_NF, expected_NF) -> None:
    """Log-odds are compared as probabilities: near certainty they magnify fp32's rounding."""
    is_logit_F = np.array([name.endswith("_logit") for name in FEATURES])
    for logits_NF in (own_NF, expected_NF):
        logits_NF[:, is_logit_F] = 1 / (1 + np.exp(-logits_NF[:, is_logit_F]))
    np.testing.assert_allclose(own_NF, expected_NF, atol=TOLERANCE, rtol=1e-3)


@pytest.mark.usefixtures("first_output")
def test_a_second_run_asks_nothing_again(folder) -> None:
    process = start(folder, "--escalation-rate", "0.5", "--tier-cost", "small=1,middle=3")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "starting the server" not in err
    assert "small: at most" in out or "small: no promise" in out


def test_a_run_that_is_ended_leaves_no_server_behind(folder, tmp_path) -> None:
    for name in ("cascade.json", "set.jsonl"):
        (tmp_path / name).write_text((folder / name).read_text())
    process = start(tmp_path)
    assert process.stderr is not None
    # Before it the command says what it knows of the sample.
    assert any("starting the server" in line for line in process.stderr)
    log = tmp_path / "out" / "server.log"
    family: list[psutil.Process] = []
    while not family or not log.exists():
        family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert gone(family, within_s=10) == []
