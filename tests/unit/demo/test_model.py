"""The training model equals Qwen3's own code, and growing in depth changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from demo.tasks.families import FAMILIES
from demo.tasks.splits import sample
from demo.tasks.tokenizer import encode_answer, encode_prompt
from demo.train.export import export
from demo.train.gradient import Replicas, collate, deal, length_of
from demo.train.model import DemoModel, Shape, grow
from demo.train.tiers import Stage, Tier
from demo.train.trainer import Trainer

TINY = Shape(hidden=32, heads=4, kv_heads=2, head_dim=16, intermediate=48)


@pytest.fixture
def model() -> DemoModel:
    """A tiny model whose norms and projections are all away from their start values."""
    torch.manual_seed(0)
    model = DemoModel(TINY, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).bfloat16())
    return model


def test_logits_equal_those_of_qwen3(model: DemoModel, tmp_path: Path) -> None:
    export(model, tmp_path)
    ids_BT, _ = collate(sample("train", 2, 8))
    theirs = Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        ours = model(ids_BT, torch.ones_like(ids_BT, dtype=torch.bool))
        torch.testing.assert_close(ours, theirs(ids_BT).logits.flatten(0, 1), rtol=1e-4, atol=1e-4)


def test_last_layer_computes_wanted_positions_alone_and_changes_nothing(model: DemoModel) -> None:
    ids_BT, weight_BT = collate(sample("train", 3, 8, ("add", "recall"), max_sizes={"recall": 3}))
    wanted_BT = weight_BT > 0
    everywhere = model(ids_BT, torch.ones_like(wanted_BT)).view(*ids_BT.shape, -1)
    assert int(wanted_BT.any(0).int().argmax()) > 0
    torch.testing.assert_close(
        model(ids_BT, wanted_BT), everywhere[wanted_BT], rtol=1e-4, atol=1e-5
    )


def test_grown_model_computes_the_same(model: DemoModel) -> None:
    deeper = DemoModel(TINY, 6)
    deeper.load_state_dict(grow(model.state_dict(), 3))
    ids_BT, weight_BT = collate(sample("train", 3, 8))
    torch.testing.assert_close(model(ids_BT, weight_BT > 0), deeper(ids_BT, weight_BT > 0))


def test_weights_mark_the_answer_its_end_and_earlier_turns() -> None:
    rows = sample("train", 4, 16, ("add", "recall"))
    ids_BT, weight_BT = collate(rows)
    for row, ids, weights in zip(rows, ids_BT, weight_BT, strict=True):
        marked = weights > 0
        turns = "".join(row.prompt[start:end] for start, end in row.turns)
        assert ids[marked].tolist() == encode_prompt(turns)[:-1] + encode_answer(row.answer)
        assert weights.sum().item() == pytest.approx(marked.sum().item() ** 0.5)


def test_every_row_is_dealt_once_and_the_work_is_even() -> None:
    rows = sample("train", 7, 300, tuple(FAMILIES))
    hands = deal(rows, 2)
    dealt = [row for hand in hands for chunk in hand for row in chunk]
    assert sorted(map(id, dealt)) == sorted(map(id, rows))
    tokens = [sum(length_of(row) for chunk in hand for row in chunk) for hand in hands]
    assert min(tokens) > 0.7 * max(tokens)


def test_later_tier_goes_on_from_its_trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.train.trainer.BATCH", 16)
    stage = Stage(layers=1, examples=32, lr_start=1e-3, lr_end=1e-3)
    trunk = Trainer(Tier(name="trunk", shape=TINY, seed=5, stages=(stage, stage)), tmp_path)
    trunk.run()
    later = Tier(name="later", shape=TINY, seed=6, stages=(stage,), trunk=("trunk", 2))
    for ours, theirs in zip(
        Trainer(later, tmp_path).model.parameters(), trunk.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_resumed_run_equals_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.train.trainer.BATCH", 16)
    stage = Stage(layers=1, examples=64, lr_start=1e-3, lr_end=0.0)
    deeper = Stage(layers=2, examples=32, lr_start=1e-3, lr_end=0.0)
    tier = Tier(name="tiny", shape=TINY, seed=5, stages=(stage, deeper))
    whole = Trainer(tier, tmp_path / "whole")
    whole.run()
    Trainer(Tier(name="tiny", shape=TINY, seed=5, stages=(stage,)), tmp_path / "half").run()
    resumed = Trainer(tier, tmp_path / "half")
    resumed.run()
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gradient_does_not_depend_on_the_number_of_copies(model: DemoModel) -> None:
    rows = sample("train", 6, 64)
    losses, gradients = [], []
    for threads in (1, 2):
        loss, right = Replicas(model, threads).gradient(rows)
        assert len(right) == len(rows)
        losses.append(loss)
        gradients.append(model.model.embed_tokens.weight.grad.clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.05, atol=1e-3)
