"""Trains a tier from scratch on CPU, resuming from its last checkpoint.

The weights live in fp32; each step computes with a copy, in bf16 where the CPU has instructions
for it. Batch number i of a stage depends on the tier's seed, the stage and i alone, so a resumed
run sees the examples an unbroken one would.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from demo.tasks.families import FAMILIES
from demo.tasks.splits import sample
from demo.train.gradient import Replicas
from demo.train.model import DemoModel, grow
from demo.train.muon import Muon
from demo.train.tiers import Stage, Tier

BATCH = 256
WARMUP_STEPS = 40
LOG_STEPS = 25
SAVE_STEPS = 250


@dataclass(slots=True, kw_only=True)
class Progress:
    """Where a run stands: a stage of the tier and the steps done in it."""

    stage: int = 0
    step: int = 0


class Optimizer:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""

    def __init__(self, model: DemoModel) -> None:
        matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
        inside = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in inside]
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices),
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


class Trainer:
    """One tier's run: fp32 weights, the optimizer and the progress."""

    def __init__(self, tier: Tier, checkpoints: Path, threads: int = 1) -> None:
        self.tier = tier
        self._checkpoints = checkpoints
        self._threads = threads
        self.progress = Progress()
        torch.manual_seed(tier.seed)
        if self._checkpoint.exists():
            self._load()
        elif tier.trunk is not None:
            self._use(self._read_model(torch.load(self._after_stage(*tier.trunk))))
        else:
            self._use(DemoModel(tier.shape, tier.stages[0].layers))

    @property
    def _checkpoint(self) -> Path:
        return self._checkpoints / f"{self.tier.name}.pt"

    def _after_stage(self, tier_name: str, stages: int) -> Path:
        """Where a tier's weights lie as they were after that many stages."""
        return self._checkpoints / f"{tier_name}-{stages}.pt"

    def run(self) -> None:
        while self.progress.stage < len(self.tier.stages):
            stage = self.tier.stages[self.progress.stage]
            self._deepen_to(stage.layers)
            self._run_stage(stage)
            self.progress = Progress(stage=self.progress.stage + 1)
            self._use(self.model)
            self.save()
            weights = self.model.state_dict()
            torch.save(weights, self._after_stage(self.tier.name, self.progress.stage))

    def save(self) -> None:
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": (self.progress.stage, self.progress.step),
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _load(self) -> None:
        state = torch.load(self._checkpoint)
        self._use(self._read_model(state["weights"]))
        self.optimizer.load_state_dict(state["optimizer"])
        stage, step = state["progress"]
        self.progress = Progress(stage=stage, step=step)

    def _read_model(self, weights: dict[str, torch.Tensor]) -> DemoModel:
        layers = 1 + max(int(name.split(".")[2]) for name in weights if ".layers." in name)
        model = DemoModel(self.tier.shape, layers)
        model.load_state_dict(weights)
        return model

    def _use(self, model: DemoModel) -> None:
        self.model = model
        self.optimizer = Optimizer(model)
        self._replicas = Replicas(model, self._threads)

    def _deepen_to(self, layers: int) -> None:
        now = len(self.model.model.layers)
        if now == layers:
            return
        if layers % now:
            raise ValueError(f"{layers} layers are no multiple of the {now} trained ones")
        deeper = DemoModel(self.tier.shape, layers)
        deeper.load_state_dict(grow(self.model.state_dict(), layers // now))
        self._use(deeper)

    def _run_stage(self, stage: Stage) -> None:
        steps = stage.examples // BATCH
        log = _Log(self.tier.name, self.progress.stage, steps)
        while self.progress.step < steps:
            step = self.progress.step
            seed = (self.tier.seed * 100 + self.progress.stage) * 1_000_000 + step
            rows = sample(
                "train",
                seed,
                BATCH,
                tuple(FAMILIES),
                weights=stage.weights,
                max_sizes=stage.max_sizes,
            )
            log.add(*self._replicas.gradient(rows))
            self.optimizer.step(learning_rate(stage, step, steps))
            self._replicas.refresh()
            self.progress.step += 1
            if self.progress.step % LOG_STEPS == 0:
                log.flush(self.progress.step)
            if self.progress.step % SAVE_STEPS == 0:
                self.save()


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
