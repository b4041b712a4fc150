"""A long run of requests of every kind while processes are killed, stopped and moved.

Requests to every route that generates, streamed in each mode or whole, go to the demo with a tier
that decodes speculatively and one that calibrates itself. Meanwhile workers, detokenizers, the fork
server and the planner are killed and stopped, capacity moves, and thresholds change. Each request
must end once, by an answer or a clear error; a greedy answer must be that of a quiet server.

A run is a piece. Pieces add up in the folder `--state`, until it is removed.

Example:
    python -m bench.soak.run                # 20,000 requests; adds to bench/results/soak.{csv,md}
    python -m bench.soak.run --smoke        # one minute of load; writes nothing
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import psutil

from bench import RESULTS, ROOT
from bench.harness.rows import facts_of_this_run, save_rows
from bench.soak import quiet_answers
from bench.soak.cascade import serving, temporary_folder
from bench.soak.faults import listening_pid
from bench.soak.piece import Piece, Size
from bench.soak.tally import Tally, load, numbers, page, rows_of, save
from demo.tasks.splits import sample

STATE = ROOT / ".soak"
SMOKE = Size(requests=1000, faults=7, moves=4, seconds=60.0, window=100)
PROMPTS, SMOKE_PROMPTS = 300, 40
GONE_S = 20.0
# Of folders; other ones are SGLang's and caches.
OWN_NAMES = ("pymp-", "cascadia-")
TRACEBACK = "Traceback (most recent call last)"


async def soak(
    port: int, state: Path, tally: Tally, size: Size, prompts: int, temporary: Path
) -> None:
    """One piece against a server that runs.

    Args:
        state: folder that keeps the quiet server's answers.
        temporary: the server's folder for temporary files.
    """
    rows = sample("test", 34, prompts)
    texts = sorted({row.prompt for row in rows})
    stored = state / "answers.json"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        answers = quiet_answers.load(stored)
        if answers is None:
            began = time.monotonic()
            answers = await quiet_answers.ask_all(session, f"http://127.0.0.1:{port}", texts)
            stored.write_text(json.dumps(answers))
            print(f"a quiet server's answers: {time.monotonic() - began:.0f} s", flush=True)
        piece = Piece(session, port, texts, answers, tally, tally.pieces + 1, temporary)
        await piece.run(size)


def run(port: int, state: Path, size: Size, prompts: int) -> Tally:
    """Serve, soak, stop; the tally of all pieces so far."""
    state.mkdir(parents=True, exist_ok=True)
    tally = load(state / "tally.json")
    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder), state / "labels", port) as log:
            server = psutil.Process(listening_pid(port))
            family = [server, *server.children(recursive=True)]
            try:
                asyncio.run(soak(port, state, tally, size, prompts, temporary_folder(Path(folder))))
                family = [server, *server.children(recursive=True)]
            finally:
                shutil.copy(log, state / f"server-{tally.pieces}.log")
        _, alive = psutil.wait_procs(family, timeout=GONE_S)
        tally.left["processes after the end"] += len(alive)
        paths = sorted(temporary_folder(Path(folder)).iterdir())
        remaining = [
            path.name for path in paths if path.name.startswith(OWN_NAMES) or _is_loose(path)
        ]
        text = (state / f"server-{tally.pieces}.log").read_text(errors="replace")
        # Up to the next line of the log.
        tracebacks = [each.partition("\n[")[0] for each in text.split(TRACEBACK)[1:]]
        for what, items in (("temporary files", remaining), ("tracebacks in the log", tracebacks)):
            tally.left[what] += len(items)
            for item in items:
                tally.example(what=what, why=item[-1500:])
    save(tally, state / "tally.json")
    return tally


def _is_loose(path: Path) -> bool:
    """Whether it is a file or a socket, and no folder."""
    return not path.is_dir()


def main() -> None:
    """Run a piece and write what all pieces came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=20_000, help="of this piece")
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--moves", type=int, default=20, help="changes; half of them are moves")
    parser.add_argument("--minutes", type=float, default=36.0, help="the longest load of a piece")
    parser.add_argument("--state", type=Path, default=STATE, help="folder of all pieces")
    parser.add_argument("--port", type=int, default=31400)
    parser.add_argument("--smoke", action="store_true", help="one minute; write nothing")
    options = parser.parse_args()
    size = Size(
        requests=options.requests,
        faults=options.faults,
        moves=options.moves,
        seconds=60 * options.minutes,
        window=500,
    )
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            tally = run(options.port, Path(folder), SMOKE, SMOKE_PROMPTS)
    else:
        tally = run(options.port, options.state, size, PROMPTS)
    for name, unit, value in numbers(tally):
        print(f"{name}: {value:g} {unit}")
    for example in tally.examples:
        print(example)
    if not options.smoke:
        facts = facts_of_this_run("bench.soak.run")
        save_rows(RESULTS / "soak.csv", rows_of(tally, facts))
        (RESULTS / "soak.md").write_text(page(tally, facts))
    failures = tally.faults_found()
    print("\n".join(failures) or "nothing was lost, doubled, hung or left over")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
