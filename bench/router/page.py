"""What an open page costs the cascade: requests per second with and without its reader.

One server of the demo's three tiers with threshold 0, so that the front is the busiest part. Rounds
with and without a reader alternate in blocks of four. The reader asks for what the page asks for:
`live` every second and `recent` every five.

Example:
    python -m bench.router.page                     # writes bench/results/page.{csv,md}
    python -m bench.router.page --smoke             # one short block; writes nothing
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import math
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bench import RESULTS
from bench.harness.blocks import Block, measure_blocks, throughputs
from bench.harness.client import Round, send_all
from bench.harness.estimates import Estimate
from bench.harness.load import BUFFERED, questions, requests
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows, source_line
from bench.harness.server import running_server
from bench.router.overhead import CASCADE

BENCH = "page"
CONCURRENCY = 32
LEAST_RATIO = 0.97
READ_EVERY_S = 1.0
RECENT_EVERY = 5


class Reader:
    """Reads as one open page does, until it is ended. Counts its reads and their bytes."""

    def __init__(self, port: int) -> None:
        self.reads = 0
        self.bytes = 0
        self._port = port
        self._last = {"row": 0, "request": 0, "event": 0}

    def read(self) -> None:
        """What one tick of the page asks for."""
        last = self._last
        query = f"since={last['row']}&requests={last['request']}&events={last['event']}"
        self._last = json.loads(self._get(f"/cascadia/live?{query}"))["last"]
        if self.reads % RECENT_EVERY == 0:
            self._get("/cascadia/recent")
        self.reads += 1

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path} answers {response.status}: {content[:200]!r}")
        self.bytes += len(content)
        return content


@contextmanager
def reading(reader: Reader) -> Iterator[None]:
    """Have the reader read every second meanwhile, from now on."""
    ended = threading.Event()

    def run() -> None:
        reader.read()
        while not ended.wait(READ_EVERY_S):
            reader.read()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def measure(port: int, reader: Reader, count: int, round_s: float) -> list[Block]:
    """Blocks of rounds without the reader and with it."""
    seeds = itertools.count(1000)

    def batch(size: int) -> list[bytes]:
        return requests(questions(next(seeds), size), stream_interval=None, headers=BUFFERED)

    def send(is_read: bool, sent: list[bytes]) -> Round:
        with reading(reader) if is_read else nullcontext():
            return send_all(port, sent, CONCURRENCY)

    warm = [send(False, batch(4 * CONCURRENCY)) for _ in range(2)]
    size = max(CONCURRENCY, math.ceil(round_s * warm[-1].requests_per_s))
    return measure_blocks(lambda: batch(size), send, count)


def values_of(blocks: list[Block]) -> dict[str, tuple[str, Estimate]]:
    """Unit and value by variant."""
    alone, read, ratio = throughputs(blocks)
    return {
        "no page": ("1/s", alone),
        "page": ("1/s", read),
        "page/no page": ("1", ratio),
    }


def rows_of(values: dict[str, tuple[str, Estimate]], facts: Facts) -> list[Row]:
    """All rows of a run."""
    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"concurrency {CONCURRENCY}",
            variant=variant,
            metric="requests_per_s",
            unit=unit,
            value=value,
        )
        for variant, (unit, value) in values.items()
    ]


def report(
    values: dict[str, tuple[str, Estimate]], reader: Reader, blocks: int, facts: Facts
) -> str:
    """Markdown: what it says, and where it comes from."""
    ratio = values["page/no page"][1]
    return "\n".join(
        [
            "# The cost of an open page",
            "",
            f"Requests per second of the demo at concurrency {CONCURRENCY}, in {blocks} blocks of "
            "two rounds with and two without a reader that asks for what the page asks for. "
            "Medians over the blocks; the ratio has a 95 % bootstrap interval.",
            "",
            f"| no page, requests/s | page, requests/s | ratio (lower end ≥ {LEAST_RATIO}) | "
            "bytes per read |",
            "|---|---|---|---|",
            f"| {values['no page'][1].p50:.4g} | {values['page'][1].p50:.4g} | {ratio.p50:.3f} "
            f"[{ratio.low95:.3f}, {ratio.high95:.3f}] | {reader.bytes // max(1, reader.reads)} |",
            "",
            source_line(facts),
            "",
        ]
    )


def main() -> None:
    """Measure, print the report, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=60, help="blocks of four rounds")
    parser.add_argument("--round-s", type=float, default=3.0, help="a round takes about this")
    parser.add_argument("--port", type=int, default=31000, help="of the server")
    parser.add_argument("--smoke", action="store_true", help="one short block")
    args = parser.parse_args()
    blocks, round_s = (1, 0.2) if args.smoke else (args.blocks, args.round_s)
    facts = facts_of_this_run("bench.router.page")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with running_server(CASCADE, port=args.port, log=log) as port:
            reader = Reader(port)
            measured = measure(port, reader, blocks, round_s)
    values = values_of(measured)
    markdown = report(values, reader, blocks, facts)
    print(markdown)
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows_of(values, facts))
        (RESULTS / f"{BENCH}.md").write_text(markdown)


if __name__ == "__main__":
    main()
