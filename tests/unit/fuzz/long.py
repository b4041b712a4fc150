"""Runs the tests of this folder again and again, each time with other and more examples.

python -m tests.unit.fuzz.long --minutes 30
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

EXAMPLES = 400
_TEST = re.compile(r"^tests/unit/fuzz/(\w+)\.py::(\w+)(\[.*\])?:$")
_PASSING = re.compile(r"- (\d+) passing, (\d+) failing, and (\d+) invalid test cases")


def passing_examples(output: str) -> Counter[str]:
    """Examples that passed, by test, from the statistics of hypothesis."""
    counts: Counter[str] = Counter()
    name = ""
    for line in output.splitlines():
        if match := _TEST.match(line.strip()):
            name = f"{match[1]} {match[2]}"
        elif match := _PASSING.search(line):
            counts[name] += int(match[1])
    return counts


def main() -> None:
    """Run until the time is over, or a test fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    ends_at = time.monotonic() + 60 * options.minutes
    counts: Counter[str] = Counter()
    runs = 0
    while time.monotonic() < ends_at:
        seed = options.seed + runs
        pytest_options = ("-q", f"--hypothesis-seed={seed}", "--hypothesis-show-statistics")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *pytest_options, str(Path(__file__).parent)],
            env={**os.environ, "FUZZ_EXAMPLES": str(EXAMPLES)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            failures = done.stdout.partition("= FAILURES =")[2].partition("Hypothesis Statistics")[
                0
            ]
            print(failures or done.stdout[-5_000:], done.stderr[-5_000:])
            sys.exit(f"a test failed with seed {seed}")
        counts += passing_examples(done.stdout)
        runs += 1
        print(f"run {runs}, seed {seed}: {counts.total()} examples so far", flush=True)
    for name, count in sorted(counts.items()):
        print(f"{count:8} {name}")
    print(f"{counts.total():8} in all, {runs} runs")


if __name__ == "__main__":
    main()
