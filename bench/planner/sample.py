"""Makes the sample that the routing bench plans with: every tier of the demo answers every prompt.

    python -m bench.planner.sample       # writes bench/results/planner_sample.csv

Prompts are of the demo's test split, of a seed that no calibration or report has used. Every row
holds the score of each tier but the last, given the score before it, and whether each was right.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench import RESULTS
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration
from cascadia_sglang.planner.problem.problem import CalibrationRow
from demo import MODELS
from demo.calibrate.observe import Observation, observe
from demo.tasks.splits import sample
from demo.train.tiers import TIERS

SAMPLE = RESULTS / "planner_sample.csv"
SEED = 41


def read_sample(path: Path = SAMPLE) -> list[CalibrationRow]:
    """The rows of a sample file."""
    with path.open(newline="") as file:
        return [
            CalibrationRow(
                scores=[float(row[name]) for name in row if name.startswith("score_")],
                correct=[float(row[name]) for name in row if name.startswith("correct_")],
            )
            for row in csv.DictReader(file)
        ]


def final_scores(tier: str, observation: Observation, earlier: Sequence[FloatArray]) -> FloatArray:
    """Final scores [N] as a worker of the tier computes them, given those of the tiers before."""
    model = ScoreModel(load_calibration(MODELS / tier / "calibration.json"))
    earlier_scores = [
        tuple(float(scores_N[row]) for scores_N in earlier)
        for row in range(len(observation.correct_N))
    ]
    return np.array(
        [
            model.score(features_F, before)
            for features_F, before in zip(observation.features(), earlier_scores, strict=True)
        ]
    )


def main() -> None:
    """Decode the prompts with every tier and write what the judge and the reference say."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rows", type=int, default=1_500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prompts = sample("test", SEED, args.rows)
    columns: dict[str, list[str]] = {}
    earlier: list[FloatArray] = []
    for name in TIERS:
        observation = observe(MODELS / name, prompts)
        columns[f"correct_{name}"] = [str(int(right)) for right in observation.correct_N]
        if name != list(TIERS)[-1]:
            earlier.append(final_scores(name, observation, earlier))
            columns[f"score_{name}"] = [f"{score:.6f}" for score in earlier[-1]]
        print(name, f"accuracy {observation.correct_N.mean():.4f}", flush=True)
    with SAMPLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


if __name__ == "__main__":
    main()
