"""Whether an answer that began with a draft is the larger tier's own, token by token.

Every prompt is asked twice: of the large tier alone, and of the cascade with threshold 1, where the
large tier reads the small one's draft. Where the two differ, the large tier writes once more alone:
how often it differs from itself then, because other requests share its batches, stands beside.

Example:
    python -m bench.drafts.equal                # writes bench/results/verify.csv
    python -m bench.drafts.equal --smoke        # few prompts; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import RESULTS
from bench.harness.client import send_all
from bench.harness.estimates import Estimate, mean
from bench.harness.load import requests
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from bench.prefix.serving import serving, tier
from demo.tasks.families import TEST_FAMILIES, Row
from demo.tasks.splits import sample

CONFIG: dict[str, Any] = {
    "tiers": [tier("small", page_tokens=1), tier("large", page_tokens=1)],
    "routing": {"thresholds": [1.0], "early_abort": None, "drafts": "on"},
}
# All families have the same weight, but for the one with the long answers.
WEIGHTS = {"steps": 6.0}
SEED = 62_000
CONCURRENCY = 16

Said = tuple[tuple[int, ...], str, str, int]


def answers(port: int, rows: Sequence[Row], **headers: str) -> tuple[list[Said], list[dict]]:
    """Of every prompt its tokens, text, finish and usage; and its last attempt."""
    questions = requests(rows, headers=headers)
    texts, last = [], []
    for reply in send_all(port, questions, CONCURRENCY).replies:
        body = reply.json()
        meta = body["meta_info"]
        finish = repr(meta["finish_reason"])
        texts.append((tuple(body["output_ids"]), body["text"], finish, meta["completion_tokens"]))
        last.append(meta["cascadia"]["attempts"][-1])
    return texts, last


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=31900)
    parser.add_argument("--smoke", action="store_true", help="few prompts; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.drafts.equal")
    rows = sample("test", SEED, 60 if options.smoke else 2_400, TEST_FAMILIES, weights=WEIGHTS)
    alone_headers = {"x-cascadia-tier": "large"}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), options.port, CONFIG) as port,
    ):
        alone, _ = answers(port, rows, **alone_headers)
        cascade, attempts = answers(port, rows)
        again, _ = answers(port, rows, **alone_headers)
    read = [attempt for attempt in attempts if attempt.get("kept") is not None]
    differs = [float(a != b) for a, b in zip(alone, cascade, strict=True)]
    noise = [float(a != b) for a, b in zip(alone, again, strict=True)]
    share = Estimate(p50=float(np.mean([attempt["kept"] for attempt in read])), n=len(read))
    whole = mean([float(attempt["reason"] == "verified") for attempt in read])
    values = (
        ("answers that differ from the tier's own", "1", mean(differs)),
        ("the tier's own that differ from themselves", "1", mean(noise)),
        ("tokens kept of a draft", "1", share),
        ("drafts kept whole", "1", whole),
    )
    estimates = []
    for metric, unit, value in values:
        print(f"{metric}: {value.p50:.5f} of {value.n}")
        estimates.append(
            make_row(
                facts,
                bench="verify.equal",
                case=f"{len(rows)} prompts, concurrency {CONCURRENCY}",
                variant="small's drafts, read by large",
                metric=metric,
                unit=unit,
                value=value,
            )
        )
    for row, a, b, attempt in zip(rows, alone, cascade, attempts, strict=True):
        if a != b:
            print(f"{row.prompt!r}: alone {a[1]!r}, with a draft {b[1]!r} ({attempt})")
    if not options.smoke:
        save_rows(RESULTS / "verify.csv", estimates)


if __name__ == "__main__":
    main()
