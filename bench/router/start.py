"""How long a start takes: every tier from the command to an answer, and one more worker of each,
started when it is asked for or before (`standby`).

Example:
    python -m bench.router.start             # writes bench/results/start.{csv,md}
    python -m bench.router.start --smoke     # one start; writes nothing
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows, source_line
from bench.harness.server import running_server
from cascadia_sglang.config.cascade_file import read_cascade

ADDED = "ADDED "  # as bench.router.add_workers prints it, whose import is SGLang's whole server
WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Seconds from the command to a healthy server; what was said of each worker added then."""

    ready_s: float
    added: list[dict[str, Any]]

    def of_tier(self, name: str) -> dict[str, float]:
        """Seconds by phase of the tier's one more worker, with the whole of it."""
        line = next(line for line in self.added if line["pool"] == name)
        return {WHOLE: line["seconds"], **line["phases"]}


def measure(config: Path, tiers: Sequence[str], port: int) -> Start:
    """Start a server, and have it start one more worker of every tier."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        started = time.monotonic()
        flags = ("--plugin", "cascadia", "--cascade-config", str(config))
        with running_server(flags, port=port, log=log, module="bench.router.add_workers"):
            ready_s = time.monotonic() - started
            deadline = time.monotonic() + 60 * len(tiers)
            while len(added := list(_added(log.read_text()))) < len(tiers):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no worker was added:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
    return Start(ready_s=ready_s, added=added)


def with_standbys(config: Path, folder: Path) -> Path:
    """The cascade with a standby of every tier."""
    cascade = read_cascade(config).data
    for tier in cascade["tiers"]:
        tier["standby"] = 1
    path = folder / "standbys.yaml"
    path.write_text(yaml.safe_dump(cascade))
    return path


def _added(text: str) -> Iterator[dict[str, Any]]:
    """What was said of each worker, though other processes write to the log meanwhile."""
    for part in text.split(ADDED)[1:]:
        try:
            line, _ = json.JSONDecoder().raw_decode(part)
        except json.JSONDecodeError:
            return  # it is being written
        yield line


def report(
    ready: Estimate,
    added: dict[str, dict[str, Estimate]],
    standby: dict[str, Estimate],
    runs: int,
    source: str,
) -> str:
    """The markdown page."""
    phases = list(next(iter(added.values())))
    lines = [
        "# Starting",
        "",
        f"The demo cascade, {runs} starts; median (20th to 80th percentile), in seconds.",
        "",
        f"{len(added)} tiers, from the command to a generated token: {_shown(ready)}.",
        "",
        "One more worker, asked for while the server serves: until it is admitted, and its phases;",
        "and until it is admitted where it stood by.",
        "",
        f"| tier | {' | '.join(phase.replace('_', ' ') for phase in phases)} | stood by |",
        "|---" * (len(phases) + 2) + "|",
    ]
    for name, by_phase in added.items():
        cells = [*(by_phase[p] for p in phases), standby[name]]
        lines.append(f"| {name} | {' | '.join(_shown(cell, 2) for cell in cells)} |")
    return "\n".join([*lines, "", source, ""])


def _shown(value: Estimate, digits: int = 1) -> str:
    return f"{value.p50:.{digits}f} ({value.p20:.{digits}f} to {value.p80:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("demo/cascade.yaml"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, default=31000)
    parser.add_argument("--smoke", action="store_true", help="one start; writes nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.router.start")
    tiers = [tier["name"] for tier in read_cascade(options.config).data["tiers"]]
    runs = 1 if options.smoke else options.runs
    with tempfile.TemporaryDirectory() as folder:
        before = with_standbys(options.config, Path(folder))
        pairs = [
            (measure(options.config, tiers, options.port), measure(before, tiers, options.port))
            for _ in range(runs)
        ]
    starts = [cold for cold, _ in pairs]
    standby = {
        name: spread([standby_start.of_tier(name)[WHOLE] for _, standby_start in pairs])
        for name in tiers
    }
    ready = spread([start.ready_s for start in starts])
    added = {
        name: {
            phase: spread([start.of_tier(name)[phase] for start in starts])
            for phase in starts[0].of_tier(name)
        }
        for name in tiers
    }
    page = report(ready, added, standby, runs, source_line(facts))
    print(page)
    if options.smoke:
        return
    values = [(f"{len(tiers)} tiers", "seconds", ready)]
    values += [
        (f"one more worker of {name}", "seconds" if phase == WHOLE else f"{phase} seconds", value)
        for name, by_phase in added.items()
        for phase, value in by_phase.items()
    ]
    values += [(f"one more worker of {name}, stood by", "seconds", standby[name]) for name in tiers]
    rows = [
        make_row(
            facts,
            bench="start",
            case=case,
            variant="cascade",
            metric=metric,
            unit="s",
            value=value,
        )
        for case, metric, value in values
    ]
    save_rows(RESULTS / "start.csv", rows)
    (RESULTS / "start.md").write_text(page)


if __name__ == "__main__":
    main()
