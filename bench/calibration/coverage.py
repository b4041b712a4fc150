"""Whether the promises of a calibration hold: many calibrations, each against what it never saw.

From one pool of answered prompts, fresh calibration sets are drawn; each goes through the whole of
it (fit, choose, certify), and its bounds are compared with what its scores and thresholds do on the
rest of the pool. Risks on the rest have noise of their own, which makes violations more frequent
than the bound's own error, never less.

Example:
    python -m bench.calibration.coverage          # writes rows to bench/results/calibration.csv
    python -m bench.calibration.coverage --sets 5 --smoke
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from dataclasses import dataclass

import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.calibration.fit.calibrate import Settings, calibrate, true_risks
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.errors import CalibrationError
from demo.calibrate.answers import complete_chunks, load_pool
from demo.calibrate.fit import settings
from demo.tasks.splits import SPLITS

BENCH = "calibration"
SIZE = 10_000
SETS = 200
MIN_POOL = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One calibration set.

    Attributes:
        bounds, risks: of each tier below the last: promised, None where it abstains; true.
        loss_bound, loss: the same of the cascade's accuracy beside the last tier's.
        refused: why there is no calibration at all; None where there is.
    """

    bounds: tuple[float | None, ...] = ()
    risks: tuple[float, ...] = ()
    loss_bound: float | None = None
    loss: float = math.nan
    seconds: float = 0.0
    refused: str | None = None

    @property
    def violates_risk(self) -> bool:
        """Whether any tier's true risk is above its bound."""
        pairs = zip(self.bounds, self.risks, strict=True)
        return any(bound is not None and risk > bound for bound, risk in pairs)

    @property
    def violates_loss(self) -> bool:
        return self.loss_bound is not None and self.loss > self.loss_bound

    @property
    def abstains(self) -> bool:
        """Whether any tier promises nothing."""
        return self.refused is not None or any(bound is None for bound in self.bounds)


def trial(pool: Pool, number: int, size: int, settings: Settings) -> Trial:
    """Draw a set without replacement, calibrate, and look at the rest."""
    order = np.random.default_rng(number).permutation(len(pool))
    drawn = pool.take(order[:size])
    # A salt of this set alone, so that every set divides its prompts anew.
    salted = drawn.salted(str(number))
    started = time.process_time()
    try:
        cascade = calibrate(salted, settings)
    except CalibrationError as error:
        return Trial(refused=str(error))
    seconds = time.process_time() - started
    others = cascade.replay(pool.take(order[size:])).serve(cascade.thresholds)
    return Trial(
        bounds=tuple(bound.risk_high for bound in cascade.certificate.risks),
        risks=tuple(true_risks(others)),
        loss_bound=cascade.certificate.loss.loss_high,
        loss=float(others.last_right_N.mean() - others.right_N.mean()),
        seconds=seconds,
    )


def estimates(trials: list[Trial]) -> list[tuple[str, str, Estimate]]:
    """Metric, unit and value."""
    count = len(trials)
    fitted = [trial for trial in trials if trial.refused is None]
    counts = [
        ("violations_of_accepted_risk", sum(trial.violates_risk for trial in fitted)),
        ("violations_of_loss", sum(trial.violates_loss for trial in fitted)),
        ("sets_with_an_abstention", sum(trial.abstains for trial in trials)),
        ("sets_refused", count - len(fitted)),
    ]
    rows = [(name, "1", Estimate(p50=value, n=count)) for name, value in counts]
    for tier in range(len(fitted[0].bounds)):
        bounds = [b for trial in fitted if (b := trial.bounds[tier]) is not None]
        rows.append((f"bound_tier_{tier}", "1", spread(bounds)))
        rows.append(
            (f"true_risk_tier_{tier}", "1", spread([trial.risks[tier] for trial in fitted]))
        )
    losses = [b for trial in fitted if (b := trial.loss_bound) is not None]
    rows.append(("bound_loss", "1", spread(losses)))
    rows.append(("true_loss", "1", spread([trial.loss for trial in fitted])))
    rows.append(("cpu_seconds_a_set", "s", spread([trial.seconds for trial in fitted])))
    return rows


def main() -> None:
    """Run every set and print what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--size", type=int, default=SIZE, help="prompts of a set")
    parser.add_argument("--smoke", action="store_true", help="any pool will do; writes nothing")
    args = parser.parse_args()
    pools = [load_pool(s, chunks) for s in SPLITS if (chunks := complete_chunks(s))]
    pool = Pool.concatenated(pools)
    if len(pool) < MIN_POOL and not args.smoke:
        sys.exit(f"the pool has {len(pool)} prompts, {MIN_POOL} are needed: demo.calibrate.answers")
    facts = facts_of_this_run("bench.calibration.coverage")
    trials = []
    for number in range(args.sets):
        trials.append(trial(pool, number, args.size, settings()))
        if number % 20 == 19:
            print(f"{number + 1} sets", file=sys.stderr, flush=True)
    case = f"{len(pool)} prompts, sets of {args.size}"
    rows = [
        make_row(
            facts,
            bench=BENCH,
            case=case,
            variant="coverage",
            metric=metric,
            unit=unit,
            value=value,
        )
        for metric, unit, value in estimates(trials)
    ]
    for row in rows:
        print(dataclasses.asdict(row)["metric"], row.p50, row.p20, row.p80)
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
