"""A long run of mixed requests while processes are killed and stopped: nothing may be left over.

Requests of every kind (whole, streamed in each mode, batches, pinned, aborted, dropped by their
client, malformed) go to a cascade of two small workers and a large one, while workers and the
detokenizer are killed (SIGKILL) or stopped (SIGSTOP) at random moments.

Example:
    python -m bench.router.soak           # 5,000 requests, 20 blows; writes bench/results/soak.csv
    python -m bench.router.soak --smoke   # 200 requests, 2 blows; writes nothing
"""

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.rows import Row, facts_of_this_run, make_row, save_rows
from bench.harness.server import running_server
from bench.router.soak_requests import KINDS, RequestEnd, send

CONCURRENCY = 24
# Between two blows. Much denser ones keep the breakers open, and then most answers are 503.
PAUSE_S = (5.0, 13.0)
# A request that takes longer than this counts as hung.
HANG_S = 60.0
DEADLINE_MS = "45000"


class Blows:
    """Kills or stops one process after another, at random moments."""

    def __init__(self, base: str, rng: random.Random, blows: int) -> None:
        self._base = base
        self._rng = rng
        self._wanted = blows
        self.struck: Counter[str] = Counter()

    async def strike(self, session: aiohttp.ClientSession, server_pid: int) -> None:
        """Until there were enough; the tiers get some seconds to mend in between."""
        while self.struck.total() < self._wanted:
            await asyncio.sleep(self._rng.uniform(*PAUSE_S))
            target, pid = await self._target(session, server_pid)
            if pid is None:
                continue
            blow = self._rng.choice((signal.SIGKILL, signal.SIGSTOP))
            try:
                os.kill(pid, blow)
            except ProcessLookupError:
                continue
            self.struck[f"{target} {blow.name}"] += 1

    async def _target(
        self, session: aiohttp.ClientSession, server_pid: int
    ) -> tuple[str, int | None]:
        if self._rng.random() < 0.1:
            for child in psutil.Process(server_pid).children(recursive=True):
                if child.cmdline()[:1] == ["sglang::detokenizer"]:
                    return "detokenizer", child.pid
        workers = (await _status(session, self._base))["workers"]
        ready = [worker for worker in workers if worker["state"] == "ready"]
        if not ready:
            return "worker", None
        return "worker", self._rng.choice(ready)["pids"][0]


async def _status(session: aiohttp.ClientSession, base: str) -> dict[str, Any]:
    async with session.get(f"{base}/cascadia/status") as response:
        reply: dict[str, Any] = await response.json()
        return reply


async def soak(port: int, requests: int, blows: int, seed: int) -> dict[str, float]:
    """Send the requests, strike the blows, look at what is left; numbers by name."""
    rng = random.Random(seed)
    base = f"http://127.0.0.1:{port}"
    server_pid = _server_pid(port)
    names, weights = list(KINDS), list(KINDS.values())
    striker = Blows(base, rng, blows)
    ends: list[RequestEnd] = []
    memory: list[int] = []

    async def client(number: int, session: aiohttp.ClientSession) -> None:
        client_rng = random.Random(seed * 1000 + number)
        while len(ends) < requests or striker.struck.total() < blows:
            (kind,) = client_rng.choices(names, weights)
            try:
                async with asyncio.timeout(HANG_S):
                    ends.append(await send(session, base, kind, client_rng, DEADLINE_MS))
            except TimeoutError:
                ends.append(RequestEnd(kind, "hung"))
            if ends[-1].is_busy:
                # As Retry-After asks.
                await asyncio.sleep(1.0)
            if len(ends) % 100 == 0:
                memory.append(psutil.Process(server_pid).memory_info().rss)

    started = time.monotonic()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        striking = asyncio.create_task(striker.strike(session, server_pid))
        await asyncio.gather(*(client(number, session) for number in range(CONCURRENCY)))
        seconds = time.monotonic() - started
        striking.cancel()
        left_over = await _left_over(session, base, server_pid)
    print(dict(sorted(Counter(f"{end.kind}: {end.what}" for end in ends).items())))
    print(dict(striker.struck))
    whats = Counter(end.what for end in ends)
    half = memory[len(memory) // 2 :] or [0]
    return {
        "requests": float(len(ends)),
        "blows": float(striker.struck.total()),
        "answered": float(whats["answered"]),
        "clear errors": float(whats["error"]),
        "of these 503": float(sum(end.is_busy for end in ends)),
        "ended by the client": float(whats["dropped"]),
        "hung": float(whats["hung"]),
        "broken": float(sum(n for what, n in whats.items() if what.startswith("broken"))),
        "answered twice": float(whats["twice"]),
        **left_over,
        "memory growth, second half": (half[-1] - half[0]) / 2**20,
        "duration": seconds,
    }


async def _left_over(
    session: aiohttp.ClientSession, base: str, server_pid: int
) -> dict[str, float]:
    """What is there once all is answered and every worker serves again."""
    deadline = time.monotonic() + 90
    while True:
        status = await _status(session, base)
        serving = sum(worker["state"] == "ready" for worker in status["workers"])
        running = sum(worker["running"] for worker in status["workers"])
        left_over = running + status["active"] + status["rids"]
        if (serving == 3 and left_over == 0) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.5)
    children = psutil.Process(server_pid).children(recursive=True)
    # The fork server, its resource tracker, the detokenizer, and three workers.
    names = Counter(" ".join(child.cmdline())[:40] for child in children)
    schedulers = sum(n for name, n in names.items() if "sglang::scheduler" in name)
    detokenizers = sum(n for name, n in names.items() if "sglang::detokenizer" in name)
    return {
        "workers that serve at the end": float(serving),
        "requests and rids left": float(left_over),
        "processes too many": float(schedulers - 3 + detokenizers - 1),
    }


def _server_pid(port: int) -> int:
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN":
            assert connection.pid is not None
            return connection.pid
    raise RuntimeError(f"nothing listens on port {port}")


def _config(folder: Path) -> Path:
    cascade = yaml.safe_load(Path("tests/system/cascade.yaml").read_text())
    cascade["tiers"][0]["replicas"] = 2
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    return path


def main() -> None:
    """Soak a server and write what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--blows", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=31400)
    parser.add_argument("--smoke", action="store_true", help="briefly; write nothing")
    options = parser.parse_args()
    requests, blows = (200, 2) if options.smoke else (options.requests, options.blows)
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--plugin", "cascadia", "--cascade-config", str(_config(Path(folder))))
        log = Path(folder) / "server.log"
        with running_server(flags, port=options.port, log=log):
            numbers = asyncio.run(soak(options.port, requests, blows, options.seed))
    for name, value in numbers.items():
        print(f"{name}: {value:g}")
    if not options.smoke:
        facts = facts_of_this_run("bench.router.soak")
        rows: list[Row] = []
        for name, value in numbers.items():
            unit = "s" if name == "duration" else "MiB" if "memory" in name else "count"
            estimate = Estimate(p50=value, n=1)
            rows.append(
                make_row(
                    facts,
                    bench="router.soak",
                    case="mixed requests, random blows",
                    variant="cascade",
                    metric=name,
                    unit=unit,
                    value=estimate,
                )
            )
        save_rows(RESULTS / "soak.csv", rows)
    bad = ("hung", "broken", "answered twice", "requests and rids left", "processes too many")
    if any(numbers[name] for name in bad):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
