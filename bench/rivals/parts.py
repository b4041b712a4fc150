"""What the parts of Cascadia are worth: the demo, and the demo with a part off, in turn.

All servers run at once and one works while the others sleep; a closed loop over the mixed
questions. What stands for the judge is the proxy in `bench.rivals.compare`.

Example:
    python -m bench.rivals.parts               # writes bench/results/rivals_parts.{csv,md}
    python -m bench.rivals.parts --smoke       # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from bench.harness.rows import facts_of_this_run, source_line
from bench.rivals.compare import FULL, SMOKE, close_loop
from bench.rivals.page import mixed_page
from bench.rivals.report import of_mixed, save
from bench.rivals.system import memory_gb, processes
from bench.rivals.systems import CASCADE, Starter, cascade_at, cascades
from bench.rivals.workloads import MIXED

BENCH = "rivals_parts"
# By section of the settings, what each changes.
PARTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    CASCADE: {},
    "no drafts": {"routing": {"drafts": "off"}},
    "no early abort": {"routing": {"early_abort": None}},
    "no prefix index": {"prefix": {"workers": "least_loaded", "events": "off", "warm": "off"}},
}


def main() -> None:
    """Measure, print, and write the rows and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=32100, help="below that of the first server")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.rivals.parts")
    size = SMOKE if options.smoke else FULL
    with ExitStack() as stack:
        starter = Starter(stack, options.port)
        ports = starter.start(cascades(starter.folder, PARTS.values()))
        systems = [cascade_at(name, port) for name, port in zip(PARTS, ports, strict=True)]
        close_loop(systems, MIXED, *size.closed[MIXED])
        for system in systems:
            system.memory_gb = memory_gb(processes(system.pids))
    table = mixed_page(systems)
    print(table)
    if options.smoke:
        return
    save(facts, BENCH, of_mixed(systems), f"# Parts\n\n{source_line(facts)}\n\n{table}\n")


if __name__ == "__main__":
    main()
