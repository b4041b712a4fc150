"""One stage in a process of its own: `python -m bench.gpu_check.stage NAME --out FOLDER ...`."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import time
import traceback
from pathlib import Path

from bench.gpu_check.results import Check, facts_of_stage
from bench.gpu_check.stages import STAGES


def main() -> int:
    """Run the stage; 0 where all its checks passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=[stage.name for stage in STAGES])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, required=True)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    (stage,) = (stage for stage in STAGES if stage.name == options.stage)
    make = "gpu-check-dry" if options.dry else "gpu-check"
    check = Check(
        stage=stage.name,
        out=options.out,
        work=options.work,
        dry=options.dry,
        ends_at=time.monotonic() + options.limit_s,
        facts=facts_of_stage(shlex.join([f"STAGES={stage.name}", "make", make])),
    )
    try:
        module = importlib.import_module(f"bench.gpu_check.checks.{stage.module}")
        passed = module.run(check, options.pack) if stage.name == "setup" else module.run(check)
    except Exception as error:  # noqa: BLE001  a stage's fault is a result
        traceback.print_exc()
        check.passes("the stage ran to its end", False, error=f"{type(error).__name__}: {error}")
        return 1
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
