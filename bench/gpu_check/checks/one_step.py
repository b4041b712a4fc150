"""One decoding step and one draft, for the tools that look into a process.

python -m bench.gpu_check.checks.one_step --rows 3 [--columns 151936]
"""

from __future__ import annotations

import argparse

import torch

from bench.kernel.variants import cascadia_draft, cascadia_step, make_steps


def main() -> None:
    """Run a greedy step, a tempered one and a draft, and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--columns", type=int, default=151936)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for tempered in (False, True):
        (step,) = make_steps(options.rows, options.columns, torch.float32, tempered, 1, device)
        cascadia_step(step)
        if not tempered:
            cascadia_draft(step)
    if device.type == "cuda":
        torch.cuda.synchronize()
    print("ran")


if __name__ == "__main__":
    main()
