"""How long a start takes: every tier from the command to an answer, and one more worker.

Example:
    python -m bench.router.start             # writes bench/results/start.{csv,md}
    python -m bench.router.start --smoke     # one start; writes nothing
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

import yaml

from bench.harness.estimates import Estimate, spread
from bench.harness.rows import RESULTS, facts_of_this_run, make_row, save_rows, source_line
from bench.harness.server import running_server

ADDED = re.compile(r"added a worker in ([0-9.]+) s")


def measure(config: Path, port: int) -> tuple[float, float]:
    """Seconds from the command to a healthy server, and from asking for a worker to having it."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        started = time.monotonic()
        flags = ("--plugin", "cascadia", "--cascade-config", str(config))
        with running_server(flags, port=port, log=log, module="bench.router.add_worker"):
            ready_s = time.monotonic() - started
            deadline = time.monotonic() + 60
            while not (found := ADDED.search(log.read_text())):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no worker was added:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
    return ready_s, float(found[1])


def report(ready: Estimate, added: Estimate, tiers: int, runs: int, source: str) -> str:
    """The markdown page."""
    return "\n".join(
        [
            "# Starting",
            "",
            f"The demo cascade, {runs} starts; median (20th to 80th percentile).",
            "",
            "| what | seconds |",
            "|---|---|",
            f"| {tiers} tiers, from the command to a generated token | {_shown(ready)} |",
            f"| one more worker of the first tier, asked for while serving | {_shown(added)} |",
            "",
            source,
            "",
        ]
    )


def _shown(value: Estimate) -> str:
    return f"{value.p50:.1f} ({value.p20:.1f} to {value.p80:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("bench/ladder/cascade.yaml"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, default=31000)
    parser.add_argument("--smoke", action="store_true", help="one start; writes nothing")
    options = parser.parse_args()
    runs = 1 if options.smoke else options.runs
    measured = [measure(options.config, options.port) for _ in range(runs)]
    ready, added = (spread(values) for values in zip(*measured, strict=True))
    facts = facts_of_this_run("bench.router.start")
    tiers = len(yaml.safe_load(options.config.read_text())["tiers"])
    page = report(ready, added, tiers, runs, source_line(facts))
    print(page)
    if options.smoke:
        return
    rows = [
        make_row(
            facts,
            bench="start",
            case=case,
            variant="cascade",
            metric="seconds",
            unit="s",
            value=value,
        )
        for case, value in ((f"{tiers} tiers", ready), ("one more worker", added))
    ]
    save_rows(RESULTS / "start.csv", rows)
    (RESULTS / "start.md").write_text(page)


if __name__ == "__main__":
    main()
