"""Prints questions of the demo as a sample for `cascadia calibrate`.

python -m demo.tasks.questions --rows 600 > set.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from demo.tasks.families import Row
from demo.tasks.splits import SPLITS, sample


def lines(rows: list[Row]) -> Iterator[str]:
    """A JSON object a row, with the row's number as its id."""
    for number, row in enumerate(rows):
        yield json.dumps(
            {"id": str(number), "prompt": row.prompt, "reference": row.answer, "group": row.family}
        )


def main() -> None:
    """Print the sample."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--split", choices=SPLITS, default="calibration")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=600)
    args = parser.parse_args()
    print("\n".join(lines(sample(args.split, args.seed, args.rows))))


if __name__ == "__main__":
    main()
