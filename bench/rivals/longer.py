"""Cascadia beside the proxy over log-probabilities, its closest rival, in longer rounds.

In a short closed loop the requests that are still under way at its end weigh much, and so does what
the host does meanwhile. Otherwise as in `bench.rivals.compare`: mixed questions, in turn, the
proxy's thresholds as there. The tiers alone are asked only while thresholds are chosen.

Example:
    python -m bench.rivals.longer               # writes bench/results/rivals_longer.{csv,md}
    python -m bench.rivals.longer --smoke       # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from bench.harness.rows import facts_of_this_run, source_line
from bench.rivals.compare import FULL, SMOKE, close_loop
from bench.rivals.page import mixed_page
from bench.rivals.report import of_mixed, save
from bench.rivals.system import memory_gb, processes
from bench.rivals.systems import CASCADE, PROXY, started
from bench.rivals.workloads import MIXED

BENCH = "rivals_longer"
ROUNDS, QUESTIONS = 7, 960


def main() -> None:
    """Measure, print, and write the rows and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=32200, help="below that of the first server")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.rivals.longer")
    chosen_on = SMOKE.chosen_on if options.smoke else FULL.chosen_on
    loop = SMOKE.closed[MIXED] if options.smoke else (ROUNDS, QUESTIONS)
    with ExitStack() as stack:
        every = started(stack, options.port, chosen_on, routers={})
        systems = [system for system in every if system.name in (CASCADE, PROXY)]
        close_loop(systems, MIXED, *loop)
        for system in systems:
            system.memory_gb = memory_gb(processes(system.pids))
    table = mixed_page(systems)
    print(table)
    if options.smoke:
        return
    rows = of_mixed(systems, f"rounds of {QUESTIONS}, ")
    save(facts, BENCH, rows, f"# In longer rounds\n\n{source_line(facts)}\n\n{table}\n")


if __name__ == "__main__":
    main()
