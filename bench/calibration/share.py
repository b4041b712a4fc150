"""Whether the share of answers that climbs is the one asked for, while the traffic changes.

Streams of three mixes of 600 prompts each, drawn from the stored answers of the demo's test split,
go through the router's own `TierScoring`. A number of requests is on its way at a time; an answer's
score comes when its tokens are written, so answers come in another order than their prompts. Shares
are counted in the order of the prompts. Which answers climb is compared, within each mix, with the
best fixed threshold for as many of them, known afterwards, and with a choice at random.

Example:
    python -m demo.calibrate.answers --split test --chunks 3
    python -m bench.calibration.share           # writes rows to bench/results/share.csv
    python -m bench.calibration.share --smoke   # two streams of made-up answers; writes nothing

Shape legend: N prompts of a stream, S streams.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.ranks import ranks
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.feedback.scores import TierScoring
from demo.calibrate.answers import complete_chunks, load_pool

BENCH = "share"
MIX, PART = 600, 200  # prompts
# Families of three mixes that differ much in how sure the small tiers are.
MIXES: tuple[tuple[str, ...], ...] = (
    ("add", "mul", "rev", "sort", "count", "steps", "get"),
    ("rev", "count"),
    ("add", "mul", "sort"),
)
IN_FLIGHT = (1, 8, 32)
RATES = (0.1, 0.3, 0.5)
STREAMS = 200
# What a stream must keep to: shares within these of what was asked, accuracy within this of the
# best fixed threshold's, and this part of the way to it from a choice at random.
MOST_OFF_MIX, MOST_OFF_PART = 0.04, 0.08
MOST_LOST, LEAST_PART_OF_THE_WAY = 0.02, 0.5
# A way that is shorter than six answers of a mix: one or two answers decide how much of it is made.
SHORTEST_WAY = 0.01

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of one tier and the last one, to N prompts.

    Attributes:
        tokens_N: how long an answer takes, in steps.
    """

    score_N: FloatArray
    tokens_N: FloatArray
    right_N: npt.NDArray[np.bool_]
    last_right_N: npt.NDArray[np.bool_]

    def take(self, rows: Indices) -> Answers:
        """Some of the prompts."""
        return Answers(
            score_N=self.score_N[rows],
            tokens_N=self.tokens_N[rows],
            right_N=self.right_N[rows],
            last_right_N=self.last_right_N[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """What one stream came to.

    Attributes:
        off_mix: the largest distance from the share asked, over the mixes.
        off_slide: the same over any 600 prompts in a row.
        off_part: the same over each 200, but the first after a change of mix.
        lost: the most accuracy below the best fixed threshold's, over the mixes.
        part_of_the_way: the least, over the mixes; 1 where the best is hardly better than random.
    """

    off_mix: float
    off_slide: float
    off_part: float
    lost: float
    part_of_the_way: float

    @property
    def is_good(self) -> bool:
        """Whether it kept to everything."""
        is_near = self.off_mix <= MOST_OFF_MIX and self.off_part <= MOST_OFF_PART
        is_chosen = self.lost <= MOST_LOST and self.part_of_the_way >= LEAST_PART_OF_THE_WAY
        return is_near and is_chosen


def climbs(answers: Answers, rate: float, in_flight: int) -> npt.NDArray[np.bool_]:
    """Which prompts of a stream climb, [N], in the order in which they came."""
    scores = make_scores(rate)
    climbed_N = np.zeros(len(answers.score_N), dtype=bool)
    coming: list[tuple[float, int]] = []
    now = 0.0
    for number, tokens in enumerate(answers.tokens_N.tolist()):
        if len(coming) == in_flight:
            now, ended = heapq.heappop(coming)
            climbed_N[ended] = _decide(scores, float(answers.score_N[ended]))
        heapq.heappush(coming, (now + tokens, number))
    for _, ended in sorted(coming):
        climbed_N[ended] = _decide(scores, float(answers.score_N[ended]))
    return climbed_N


def make_scores(rate: float) -> TierScoring:
    """Of a cascade of two tiers without a calibration."""
    tiers = [TierConfig(name=name, model_path=name) for name in ("small", "large")]
    routing = RoutingConfig(escalation_rate=rate)
    return TierScoring(CascadeConfig(version=1, tiers=tiers, routing=routing))


def _decide(scores: TierScoring, score: float) -> bool:
    order = AttemptOrder(tier_index=0, threshold=0.0, early_abort=None, earlier_scores=())
    climbed = score < scores.threshold_for(order, score)
    scores.note(0, score, climbed=climbed)
    return climbed


def judged(answers: Answers, climbed_N: npt.NDArray[np.bool_], rate: float) -> StreamReport:
    """How well a stream kept to what is asked."""
    count = len(climbed_N)
    mixes = [np.arange(start, start + MIX) for start in range(0, count, MIX)]
    parts = [np.arange(start, start + PART) for start in range(0, count, PART)]
    settled = [part for part in parts if part[0] % MIX or part[0] == 0]
    summed = np.concatenate(([0], np.cumsum(climbed_N)))
    slides = (summed[MIX:] - summed[:-MIX]) / MIX
    lost, ways = zip(*(_choice(answers.take(mix), climbed_N[mix]) for mix in mixes), strict=True)
    return StreamReport(
        off_mix=max(abs(float(climbed_N[mix].mean()) - rate) for mix in mixes),
        off_slide=float(np.abs(slides - rate).max()),
        off_part=max(abs(float(climbed_N[part].mean()) - rate) for part in settled),
        lost=max(lost),
        part_of_the_way=min(ways),
    )


def _choice(answers: Answers, climbed_N: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Accuracy below the best fixed threshold's, and the part of the way to it from random's."""
    gain_N = answers.last_right_N.astype(float) - answers.right_N
    count = int(climbed_N.sum())
    lowest = np.argsort(answers.score_N, kind="stable")[:count]
    best, routed = gain_N[lowest].sum() / len(gain_N), gain_N[climbed_N].sum() / len(gain_N)
    random = gain_N.mean() * count / len(gain_N)
    way = (routed - random) / (best - random) if best - random >= SHORTEST_WAY else 1.0
    return float(best - routed), float(way)


def streams(
    answers: Answers, groups: Sequence[str | None], count: int, in_flight: int, rate: float
) -> Iterator[StreamReport]:
    """What as many streams come to, each of its own prompts in the order of its own mixes."""
    families = np.array([group or "" for group in groups])
    rows = [np.flatnonzero(np.isin(families, mix)) for mix in MIXES]
    for seed in range(count):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(MIXES))
        drawn = np.concatenate([rng.choice(rows[mix], MIX, replace=False) for mix in order])
        stream = answers.take(drawn)
        yield judged(stream, climbs(stream, rate, in_flight), rate)


def made_up(count: int, seed: int = 0) -> tuple[Answers, list[str]]:
    """Answers to prompts of every family, some of them harder, many of equal score."""
    rng = np.random.default_rng(seed)
    names = sorted({family for mix in MIXES for family in mix})
    groups = rng.integers(len(names), size=count)
    score_N = np.round(1 / (1 + np.exp(rng.normal(groups - 3.0, 1.0))), 2)
    answers = Answers(
        score_N=score_N,
        tokens_N=rng.geometric(0.1, size=count).astype(float),
        right_N=rng.random(count) < score_N,
        last_right_N=rng.random(count) < 0.95,
    )
    return answers, [names[group] for group in groups]


def stored() -> Iterator[tuple[str, Answers, list[str | None]]]:
    """The demo's tiers but the last, by name, with the ranks of their stored answers."""
    pool = load_pool("test", complete_chunks("test"))
    for name, tier in zip(("small", "middle"), pool.tiers, strict=False):
        answers = Answers(
            score_N=ranks(tier.features_NF),
            tokens_N=tier.tokens(),
            right_N=tier.right_N,
            last_right_N=pool.tiers[-1].right_N,
        )
        yield name, answers, list(pool.groups)


METRICS: dict[str, Callable[[StreamReport], float]] = {
    "off_mix": lambda report: report.off_mix,
    "off_any_600": lambda report: report.off_slide,
    "off_part": lambda report: report.off_part,
    "accuracy_lost": lambda report: report.lost,
    "part_of_the_way": lambda report: report.part_of_the_way,
}


def estimates(runs: Sequence[StreamReport]) -> Iterator[tuple[str, Estimate]]:
    """Metrics over streams; the ends of an interval are the streams' 2.5 and 97.5 percent."""
    for name, metric in METRICS.items():
        values = [metric(run) for run in runs]
        low, high = np.quantile(values, (0.025, 0.975)).tolist()
        middle = spread(values)
        yield (
            name,
            Estimate(
                p50=middle.p50, p20=middle.p20, p80=middle.p80, low95=low, high95=high, n=len(runs)
            ),
        )
    failed = sum(not run.is_good for run in runs)
    yield "streams_that_failed", Estimate(p50=failed, n=len(runs))


def main() -> None:
    """Run every stream of every tier, rate and number on their way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    if not args.smoke and not complete_chunks("test"):
        sys.exit("no stored answers: python -m demo.calibrate.answers --split test --chunks 3")
    facts = facts_of_this_run("bench.calibration.share")
    answers, groups = made_up(6_000)
    tiers = [("made up", answers, groups)] if args.smoke else stored()
    rows = []
    for tier, answers, groups in tiers:
        for rate in RATES:
            for in_flight in IN_FLIGHT:
                count = 2 if args.smoke else args.streams
                runs = list(streams(answers, groups, count, in_flight, rate))
                case = f"{tier}, {in_flight} on their way"
                for metric, value in estimates(runs):
                    print(f"{case}, rate {rate}: {metric} {value.p50:.4f} [{value.low95}]")
                    row = make_row(
                        facts,
                        bench=BENCH,
                        case=case,
                        variant=f"rate {rate}",
                        metric=metric,
                        unit="1",
                        value=value,
                    )
                    rows.append(row)
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
