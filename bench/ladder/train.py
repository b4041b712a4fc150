"""Trains a tier from scratch on CPU, resuming from its last checkpoint.

    python -m bench.ladder.train small

The weights live in fp32; each step computes with a bf16 copy, the precision they are served in.
Batch number i of a stage depends on the tier's seed, the stage and i alone, so a resumed run sees
the examples an unbroken one would.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.ladder.export import LADDER, export
from bench.ladder.families import Row
from bench.ladder.model import LadderModel, grow
from bench.ladder.splits import sample
from bench.ladder.tiers import TIERS, Stage, Tier
from bench.ladder.tokenizer import PAD_ID, encode_answer, encode_prompt

BATCH = 384
CHUNKS = 4  # of similar length, so that little of a batch is padding
WARMUP_STEPS = 40
LOG_STEPS = 100
SAVE_STEPS = 250


@dataclass(slots=True, kw_only=True)
class Progress:
    """Where a run stands: a stage of the tier and the steps done in it."""

    stage: int = 0
    step: int = 0


class Optimizer:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""

    def __init__(self, model: LadderModel) -> None:
        matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
        inside = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in inside]
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0),
        )

    def step(self, lr: float) -> None:
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def learning_rate(stage: Stage, step: int, steps: int) -> float:
    """Linear between the stage's ends, with a short warm-up for the fresh optimizer state."""
    lr = stage.lr_start + (stage.lr_end - stage.lr_start) * step / steps
    return lr * min(1.0, (step + 1) / WARMUP_STEPS)


def collate(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Ids [B, T] right-padded, and the mask [B, T] of ids that belong to answers."""
    pairs = [(encode_prompt(row.prompt), encode_answer(row.answer)) for row in rows]
    length = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids_BT = torch.full((len(rows), length), PAD_ID)
    answer_BT = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids_BT[row, :end] = torch.tensor(prompt + answer)
        answer_BT[row, len(prompt) : end] = True
    return ids_BT, answer_BT


def backward(model: LadderModel, rows: list[Row], share: float) -> tuple[float, list[bool]]:
    """Add the gradient of the answers' loss; returns the loss and which rows greedy gets right."""
    ids_BT, answer_BT = collate(rows)
    wanted_BT = answer_BT[:, 1:]
    logits = model(ids_BT[:, :-1], wanted_BT).float()
    targets = ids_BT[:, 1:][wanted_BT]
    loss = F.cross_entropy(logits, targets, reduction="sum") * share
    loss.backward()
    wrong_BT = torch.zeros_like(wanted_BT)
    wrong_BT[wanted_BT] = logits.argmax(-1) != targets
    return loss.item(), (~wrong_BT.any(1)).tolist()


class Trainer:
    """One tier's run: fp32 weights, their bf16 copy, the optimizer and the progress."""

    def __init__(self, tier: Tier, checkpoint: Path) -> None:
        self.tier = tier
        self.checkpoint = checkpoint
        self.progress = Progress()
        torch.manual_seed(tier.seed)
        self._use(LadderModel(tier.shape, tier.stages[0].layers))
        if checkpoint.exists():
            self._load()

    def run(self) -> None:
        while self.progress.stage < len(self.tier.stages):
            stage = self.tier.stages[self.progress.stage]
            self._deepen_to(stage.layers)
            self._run_stage(stage)
            self.progress = Progress(stage=self.progress.stage + 1)
            self._use(self.model)
            self.save()

    def save(self) -> None:
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": (self.progress.stage, self.progress.step),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint)
        layers = 1 + max(int(n.split(".")[2]) for n in state["weights"] if ".layers." in n)
        model = LadderModel(self.tier.shape, layers)
        model.load_state_dict(state["weights"])
        self._use(model)
        self.optimizer.load_state_dict(state["optimizer"])
        stage, step = state["progress"]
        self.progress = Progress(stage=stage, step=step)

    def _use(self, model: LadderModel) -> None:
        self.model = model
        self.optimizer = Optimizer(model)
        self.half = LadderModel(self.tier.shape, len(model.model.layers)).bfloat16()
        self._copy_to_half()

    def _copy_to_half(self) -> None:
        with torch.no_grad():
            for half, full in zip(self.half.parameters(), self.model.parameters(), strict=True):
                half.copy_(full)

    def _deepen_to(self, layers: int) -> None:
        now = len(self.model.model.layers)
        if now == layers:
            return
        if layers % now:
            raise ValueError(f"{layers} layers are no multiple of the {now} trained ones")
        deeper = LadderModel(self.tier.shape, layers)
        deeper.load_state_dict(grow(self.model.state_dict(), layers // now))
        self._use(deeper)

    def _run_stage(self, stage: Stage) -> None:
        steps = stage.examples // BATCH
        log = _Log(self.tier.name, self.progress.stage, steps)
        while self.progress.step < steps:
            step = self.progress.step
            seed = (self.tier.seed * 100 + self.progress.stage) * 1_000_000 + step
            rows = sample(
                "train", seed, BATCH, weights=stage.weights, max_sizes=stage.max_sizes
            )
            log.add(*self._step(rows, learning_rate(stage, step, steps)))
            self.progress.step += 1
            if self.progress.step % LOG_STEPS == 0:
                log.flush(self.progress.step)
            if self.progress.step % SAVE_STEPS == 0:
                self.save()

    def _step(self, rows: list[Row], lr: float) -> tuple[float, list[tuple[str, bool]]]:
        rows = sorted(rows, key=lambda row: len(row.prompt) + len(row.answer))
        share = 1 / sum(len(row.answer) + 1 for row in rows)
        loss, right = 0.0, []
        size = -(-len(rows) // CHUNKS)
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            chunk_loss, chunk_right = backward(self.half, chunk, share)
            loss += chunk_loss
            right += list(zip((row.family for row in chunk), chunk_right, strict=True))
        for half, full in zip(self.half.parameters(), self.model.parameters(), strict=True):
            full.grad = half.grad.float() if half.grad is not None else None
            half.grad = None
        self.optimizer.step(lr)
        self._copy_to_half()
        return loss, right


class _Log:
    """Prints the loss and the share of fresh training rows that greedy decoding gets right."""

    def __init__(self, tier: str, stage: int, steps: int) -> None:
        self._head = f"{tier} stage {stage} of {steps} steps"
        self._reset()

    def add(self, loss: float, right: list[tuple[str, bool]]) -> None:
        self._losses.append(loss)
        self._seen.update(family for family, _ in right)
        self._right.update(family for family, is_right in right if is_right)

    def flush(self, step: int) -> None:
        rate = self._seen.total() / (time.monotonic() - self._since)
        shares = " ".join(f"{f} {self._right[f] / n:.3f}" for f, n in sorted(self._seen.items()))
        loss = sum(self._losses) / len(self._losses)
        print(f"{self._head}: step {step} loss {loss:.4f} {shares} ({rate:.0f}/s)", flush=True)
        self._reset()

    def _reset(self) -> None:
        self._losses: list[float] = []
        self._seen: Counter[str] = Counter()
        self._right: Counter[str] = Counter()
        self._since = time.monotonic()


def main() -> None:
    """Train a tier to the end of its stages and export it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("tier", choices=TIERS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, default=LADDER / "checkpoints")
    parser.add_argument("--out", type=Path, help="folder of the export, default: the tier's own")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trainer = Trainer(TIERS[args.tier], args.checkpoints / f"{args.tier}.pt")
    trainer.run()
    export(trainer.model, args.out or LADDER / args.tier)


if __name__ == "__main__":
    main()
