"""What this version of the cascade costs against another: requests per second of two checkouts.

Two servers run at once and one of them works while the other sleeps: the cascade of the demo's
three tiers with threshold 0, so that only the first is asked, by each checkout. Both have the same
environment and the same models. Rounds of the two alternate in blocks of four; a block sends the
same prompts to both.

Example:
    git worktree add /tmp/before v0.3.0
    python -m bench.router.versions --before /tmp/before   # writes results/versions.{csv,md}
    python -m bench.router.versions --before . --smoke     # one short block; writes nothing
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import RESULTS
from bench.harness.blocks import Block, measure_blocks, throughputs
from bench.harness.client import Round, send_all
from bench.harness.load import BUFFERED, questions, requests
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows, source_line
from bench.harness.server import running_server
from bench.router.overhead import CASCADE, CASES, check_same_answers

BENCH = "versions"
CELLS = tuple(itertools.product(("not streamed", "stream_interval 1"), (1, 32)))
LEAST_RATIO = 0.97
ROOT = Path(__file__).parents[2]


def packages_of(checkout: Path) -> dict[str, str]:
    """The environment in which a server takes Cascadia from a checkout.

    Raises:
        SystemExit: naming the folder, if it is no checkout.
    """
    if not (checkout / "cascadia_sglang").is_dir():
        raise SystemExit(f"{checkout} has no cascadia_sglang: a checkout of Cascadia is needed")
    folders = (checkout, checkout / "kernels", checkout / "patches")
    path = os.pathsep.join(str(folder.resolve()) for folder in folders)
    # Without the second, Python would look in the working folder first.
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def measure(
    ports: tuple[int, int], case: str, concurrency: int, count: int, round_s: float
) -> list[Block]:
    """Blocks of rounds of the two servers."""
    seeds = itertools.count(1000)

    def batch(size: int) -> list[bytes]:
        rows = questions(next(seeds), size)
        return requests(rows, stream_interval=CASES[case], headers=BUFFERED)

    def send(is_after: bool, sent: list[bytes]) -> Round:
        return send_all(ports[is_after], sent, concurrency)

    # The first round of each warms it up, the second tells how many requests fill a round.
    warm = [send(side, batch(max(concurrency, 8))) for side in (False, True) * 2]
    fastest_per_s = max(sent.requests_per_s for sent in warm[2:])
    size = max(concurrency, math.ceil(round_s * fastest_per_s))
    return measure_blocks(lambda: batch(size), send, count)


def rows_of(cells: dict[tuple[str, int], list[Block]], facts: Facts) -> list[Row]:
    """All rows of a run."""
    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"{case}, concurrency {concurrency}",
            variant=variant,
            metric="requests_per_s",
            unit=unit,
            value=value,
        )
        for (case, concurrency), blocks in cells.items()
        for (variant, unit), value in zip(
            (("before", "1/s"), ("after", "1/s"), ("after/before", "1")),
            throughputs(blocks),
            strict=True,
        )
    ]


def report(cells: dict[tuple[str, int], list[Block]], commit: str, facts: Facts) -> str:
    """Markdown: what it says, a line a cell, where it comes from."""
    lines = [
        "# A version of the cascade against another",
        "",
        f"Requests per second of the demo's cascade with threshold 0, before (commit {commit}) and "
        "after. Medians over blocks of two rounds of each; the ratio has a 95 % bootstrap "
        "interval.",
        "",
        "| case | concurrency | blocks | before, requests/s | after, requests/s "
        f"| ratio (lower end ≥ {LEAST_RATIO}) |",
        "|---|---|---|---|---|---|",
    ]
    for (case, concurrency), blocks in cells.items():
        before, after, ratio = throughputs(blocks)
        lines.append(
            f"| {case} | {concurrency} | {len(blocks)} | {before.p50:.4g} | {after.p50:.4g} "
            f"| {ratio.p50:.3f} [{ratio.low95:.3f}, {ratio.high95:.3f}] |"
        )
    return "\n".join([*lines, "", source_line(facts), ""])


def main() -> None:
    """Measure, print the report, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--blocks", type=int, default=20, help="blocks of four rounds a cell")
    parser.add_argument("--round-s", type=float, default=2.0, help="a round takes about this")
    parser.add_argument("--port", type=int, default=31000, help="of the first server; and the next")
    parser.add_argument("--smoke", action="store_true", help="one short block a cell")
    args = parser.parse_args()
    blocks, round_s = (1, 0.1) if args.smoke else (args.blocks, args.round_s)
    environments = [packages_of(folder) for folder in (args.before, ROOT)]
    facts = facts_of_this_run("bench.router.versions")
    commit = subprocess.run(
        ["git", "-C", str(args.before), "rev-parse", "--short=12", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    cells = {}
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        first, second = (
            stack.enter_context(
                running_server(
                    CASCADE,
                    port=args.port + index,
                    log=logs / f"{index}.log",
                    environment=environment,
                )
            )
            for index, environment in enumerate(environments)
        )
        check_same_answers((first, second), second_is_cascade=True)
        for case, concurrency in CELLS:
            print(f"{case}, concurrency {concurrency}", file=sys.stderr, flush=True)
            cells[case, concurrency] = measure((first, second), case, concurrency, blocks, round_s)
    markdown = report(cells, commit, facts)
    print(markdown)
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows_of(cells, facts))
        (RESULTS / f"{BENCH}.md").write_text(markdown)


if __name__ == "__main__":
    main()
