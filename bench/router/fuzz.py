"""Whether a request body ends a worker, is answered by a 500, or costs another its answer.

Bodies are made from SGLang's own schemas, with types, ranges and sizes off, and go to all routes
that generate. Ordinary requests run beside them.

Example:
    python -m bench.router.fuzz --bodies 20000    # adds rows to bench/results/fuzz.csv
    python -m bench.router.fuzz --smoke           # 300 bodies; writes nothing
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from bench.harness.server import running_server
from bench.router.fuzz_bodies import Case, endless_cases
from cascadia_sglang.processes.child_server import free_port

BENCH = "fuzz"
FLAGS = ("--enable-metrics", "--enable-custom-logit-processor", "--log-level", "critical")
CASCADE = ("--plugin", "cascadia", "--cascade-config", "tests/system/cascade.yaml")
CONCURRENCY = 8
# A body may ask for a whole context of tokens, and for 128 sequences of them.
HANG_S = 600.0
NEIGHBOUR_S = 0.25
QUESTION = {
    "model": "small",
    "messages": [{"role": "user", "content": "rev abcd"}],
    "temperature": 0,
    "max_tokens": 8,
}
# A stream tells of an error after its status has gone out.
_LATE_ERROR = re.compile(r'"code": ?"?(5\d\d)')


@dataclass(slots=True)
class Report:
    """What came of the bodies.

    Attributes:
        statuses: by route; 0 for a request that got no answer in time.
        failures: bodies that got no answer, or one of the server's own errors.
        ended: changes of workers' processes.
        neighbours: ordinary requests by whether they were answered.
    """

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[tuple[int, str, Case]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    neighbours: Counter[bool] = field(default_factory=Counter)

    @property
    def bodies(self) -> int:
        return self.statuses.total()

    @property
    def is_clean(self) -> bool:
        return not self.failures and not self.ended and not self.neighbours[False]

    def lines(self) -> list[str]:
        """For a person to read."""
        lines = [f"{self.bodies} bodies, workers ended: {len(self.ended)}"]
        lines += [f"  {path} {status}: {n}" for (path, status), n in sorted(self.statuses.items())]
        lines.append(f"neighbours: {self.neighbours[True]} answered, {self.neighbours[False]} not")
        lines += self.ended
        lines += [
            f"{status} {text[:300]!r} {case.path} {json.dumps(case.body)[:1000]}"
            for status, text, case in self.failures
        ]
        return lines


class Fuzz:
    """Sends cases to a running server."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self.report = Report()
        self._pids: dict[str, Any] = {}

    async def run(self, cases: Iterable[Case], seconds: float) -> Report:
        """Send the cases, or as many as go in so many seconds."""
        self._pids = await self._workers()
        ends_at = time.monotonic() + seconds
        beside = asyncio.create_task(self._ask_beside())
        remaining = iter(cases)
        # Bodies take as long to make as to answer, and are made in a thread of their own.
        while batch := await asyncio.to_thread(_next_of, remaining):
            queue = iter(batch)
            await asyncio.gather(*(self._send_all(queue) for _ in range(CONCURRENCY)))
            await self._look_at_workers()
            if time.monotonic() > ends_at:
                break
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        return self.report

    async def _send_all(self, queue: Iterable[Case]) -> None:
        for case in queue:
            status, text = await self._post(case.path, case.body)
            late = _LATE_ERROR.search(text) if status == 200 else None
            status = int(late.group(1)) if late else status
            self.report.statuses[case.path, status] += 1
            if status == 0 or status >= 500:
                self.report.failures.append((status, text, case))

    async def _ask_beside(self) -> None:
        while True:
            began = time.monotonic()
            status, text = await self._post("/v1/chat/completions", QUESTION)
            self.report.neighbours[status == 200 and "dcba" in text] += 1
            await asyncio.sleep(max(0.0, NEIGHBOUR_S - (time.monotonic() - began)))

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """Status and text; 0 where no whole answer came in time."""
        try:
            async with asyncio.timeout(HANG_S):
                async with self._session.post(self._url + path, json=body) as reply:
                    return reply.status, (await reply.read()).decode(errors="replace")
        except (TimeoutError, aiohttp.ClientError) as error:
            return 0, repr(error)

    async def _workers(self) -> dict[str, Any]:
        async with self._session.get(f"{self._url}/cascadia/status") as response:
            workers = (await response.json())["workers"]
        return {worker["id"]: worker["pids"] for worker in workers}

    async def _look_at_workers(self) -> None:
        now = await self._workers()
        if now != self._pids:
            last = list(self.report.statuses)[-1]
            self.report.ended.append(f"workers {self._pids} became {now}, about {last[0]}")
            self._pids = now


def _next_of(cases: Iterator[Case]) -> list[Case]:
    return list(itertools.islice(cases, 10 * CONCURRENCY))


async def fuzz(
    url: str, *, bodies: int | None = None, seconds: float = float("inf"), seed: int = 1
) -> Report:
    """Send bodies to a server until there were enough, or the time is up."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        cases = itertools.islice(endless_cases(seed), bodies)
        return await Fuzz(url, session).run(cases, seconds)


def main() -> None:
    """Start the demo, send the bodies, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="of a running cascade; by default the demo is started")
    parser.add_argument("--smoke", action="store_true", help="300 bodies; writes nothing")
    args = parser.parse_args()
    bodies = 300 if args.smoke else args.bodies
    options = {"bodies": bodies, "seconds": args.seconds, "seed": args.seed}
    if args.url is not None:
        report = asyncio.run(fuzz(args.url, **options))
    else:
        with tempfile.TemporaryDirectory() as folder:
            arguments, log = [*CASCADE, *FLAGS], Path(folder) / "server.log"
            with running_server(arguments, port=free_port(), log=log) as port:
                report = asyncio.run(fuzz(f"http://127.0.0.1:{port}", **options))
    print("\n".join(report.lines()))
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows_of(report))
    sys.exit(0 if report.is_clean else 1)


def rows_of(report: Report) -> list[Any]:
    """The counts, one a row."""
    facts = facts_of_this_run("bench.router.fuzz")
    by_class = Counter({"2xx": 0, "4xx": 0, "5xx": 0, "no answer": 0})
    for (_, status), count in report.statuses.items():
        by_class["no answer" if status == 0 else f"{status // 100}xx"] += count
    counts = {
        "bodies": report.bodies,
        **{f"answered {name}": count for name, count in by_class.items()},
        "workers ended": len(report.ended),
        "requests beside answered": report.neighbours[True],
        "requests beside lost": report.neighbours[False],
    }
    return [
        make_row(
            facts,
            bench=BENCH,
            case="all routes that generate",
            variant="cascade",
            metric=metric.replace(" ", "_"),
            unit="1",
            value=Estimate(p50=count, n=report.bodies),
        )
        for metric, count in counts.items()
    ]


if __name__ == "__main__":
    main()
