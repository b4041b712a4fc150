"""Trains a tier of the demo: `python -m demo.train small --threads 2`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from demo import FOLDER, MODELS
from demo.train.export import export
from demo.train.tiers import TIERS
from demo.train.trainer import Trainer


def main() -> None:
    """Train a tier to the end of its stages and export it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("tier", choices=TIERS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, default=FOLDER / "checkpoints")
    parser.add_argument("--out", type=Path, help="folder of the export, default: the tier's own")
    args = parser.parse_args()
    torch.set_num_threads(1)
    trainer = Trainer(TIERS[args.tier], args.checkpoints, args.threads)
    trainer.run()
    export(trainer.model, args.out or MODELS / args.tier)


if __name__ == "__main__":
    main()
