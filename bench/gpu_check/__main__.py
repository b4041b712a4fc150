"""The check as a command: `python -m bench.gpu_check [--dry] [--stages NAMES] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from bench import ROOT
from bench.gpu_check.bare_machine.environment import site_of, variables
from bench.gpu_check.results import STEPS, read_lines
from bench.gpu_check.runner import Run, default_folder, facts_of_run, run
from bench.gpu_check.stages import WHOLE_DRY_S, WHOLE_S, Stage, chosen
from bench.gpu_check.summary import write_summary


def main() -> int:
    """Run what was chosen and print the summary; 0 where every stage passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stages", default=os.environ.get("STAGES", ""), help="names; all if empty"
    )
    parser.add_argument("--out", type=Path, help="of the results; $OUT by default")
    parser.add_argument("--pack", type=Path, default=ROOT / ".gpu")
    parser.add_argument("--dry", action="store_true", help="without a card, at tiny sizes")
    options = parser.parse_args()
    try:
        stages = chosen(options.stages)
        site = site_of(options.pack)
    except ValueError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError as error:
        print(f"gpu-check: {error.filename} is missing: `make gpu-check-pack`", file=sys.stderr)
        return 2
    out = (options.out or default_folder(dry=options.dry)).resolve()
    settings = Run(
        out=out,
        pack=options.pack.resolve(),
        dry=options.dry,
        whole_s=WHOLE_DRY_S if options.dry else WHOLE_S,
    )
    facts = facts_of_run(options.pack)

    def environment(stage: Stage) -> Mapping[str, str]:
        return {**variables(site, interprets=options.dry and stage.runs_kernels), **facts}

    # As an exception, so that the stage under way is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    earlier = sum(1 for _ in read_lines(out / STEPS))
    outcomes = run(stages, settings, environment)
    print(write_summary(out, outcomes, earlier))
    return 0 if all(outcome.outcome == "passed" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
