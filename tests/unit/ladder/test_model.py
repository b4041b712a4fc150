"""The training model equals Qwen3's own code, and growing in depth changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from bench.ladder.export import export
from bench.ladder.gradient import Replicas, collate
from bench.ladder.model import LadderModel, Shape, grow
from bench.ladder.splits import sample
from bench.ladder.tiers import Stage, Tier
from bench.ladder.train import Trainer

TINY = Shape(hidden=32, heads=4, kv_heads=2, head_dim=16, intermediate=48)


@pytest.fixture
def model() -> LadderModel:
    """A tiny model whose norms and projections are all away from their start values."""
    torch.manual_seed(0)
    model = LadderModel(TINY, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).bfloat16())
    return model


def test_logits_equal_those_of_qwen3(model: LadderModel, tmp_path: Path) -> None:
    export(model, tmp_path)
    ids_BT, _ = collate(sample("train", 2, 8))
    theirs = Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        ours = model(ids_BT, torch.ones_like(ids_BT, dtype=torch.bool))
        torch.testing.assert_close(ours, theirs(ids_BT).logits.flatten(0, 1), rtol=1e-4, atol=1e-4)


def test_grown_model_computes_the_same(model: LadderModel) -> None:
    deeper = LadderModel(TINY, 6)
    deeper.load_state_dict(grow(model.state_dict(), 3))
    ids_BT, wanted_BT = collate(sample("train", 3, 8))
    assert torch.equal(model(ids_BT, wanted_BT), deeper(ids_BT, wanted_BT))


def test_mask_marks_the_answer_and_its_end() -> None:
    rows = sample("train", 4, 16)
    ids_BT, answer_BT = collate(rows)
    for row, ids, marked in zip(rows, ids_BT, answer_BT, strict=True):
        assert len(ids[marked]) == len(row.answer) + 1
        assert marked.nonzero()[0] == len(row.prompt) + 1


def test_resumed_run_equals_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.ladder.train.BATCH", 16)
    stage = Stage(layers=1, examples=64, lr_start=1e-3, lr_end=0.0)
    deeper = Stage(layers=2, examples=32, lr_start=1e-3, lr_end=0.0)
    tier = Tier(name="tiny", shape=TINY, seed=5, stages=(stage, deeper))
    whole = Trainer(tier, tmp_path / "whole.pt")
    whole.run()
    Trainer(Tier(name="tiny", shape=TINY, seed=5, stages=(stage,)), tmp_path / "half.pt").run()
    resumed = Trainer(tier, tmp_path / "half.pt")
    resumed.run()
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gradient_does_not_depend_on_the_number_of_copies(model: LadderModel) -> None:
    rows = sample("train", 6, 64)
    losses, gradients = [], []
    for threads in (1, 2):
        loss, right = Replicas(model, threads).gradient(rows)
        assert len(right) == len(rows)
        losses.append(loss)
        gradients.append(model.model.embed_tokens.weight.grad.clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.05, atol=1e-3)
