"""A cascade of two real models beside what people use in its place, at equal accuracy.

- every tier alone, on plain SGLang;
- a proxy that reads log-probabilities over HTTP, before both;
- the same proxy behind LiteLLM's, where LiteLLM is installed;
- a router that picks a tier by the prompt's n-grams;
- the cascade, whose score is fitted here.

All settings are chosen on recorded answers, as `bench.real.live.choice` says. Then other questions
are asked: a closed loop of eight at a time, and an open loop at 60 % of what the larger tier alone
answers in it. The cascade, the proxy and the larger tier play three rounds, all others one.
The systems are those of `bench.rivals`. Caches are emptied before each loop.

It goes in steps of a few minutes, which are kept in `bench/real/cache`: an interrupted run goes on
where it stopped, and `--minutes` ends one in time.

Example:
    python -m bench.real.live --small PATH --large PATH   # writes bench/results/real_live.{csv,md}
    python -m bench.real.live --small PATH --large PATH --litellm PATH --minutes 40
    python -m bench.real.live --small PATH --large PATH --smoke   # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from bench.harness.client import send_all
from bench.harness.load import requests
from bench.harness.rows import facts_of_this_run, source_line
from bench.real.judge_quality import MODELS
from bench.real.live.ceilings import replay_of
from bench.real.live.choice import CHOOSE, TEST, Records, choose, load_records, prompts_of
from bench.real.live.groups import LARGE, TIERS, Group, Lineup, start
from bench.real.live.live_questions import EXAM, LiveQuestion, live_questions, taken
from bench.real.live.report import CLOSED, OPEN, comparison, estimates, page, rate_of
from bench.real.live.steps import OneAtATime, PlayedStep, Step, play_missing, steps
from bench.real.record import CACHE
from bench.rivals.report import save
from bench.rivals.system import System, memory_gb, processes
from cascadia_sglang.planner.workload.workload import poisson_arrivals_s

BENCH = "real_live"
MARGIN = 0.05
SEED = 28_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything.

    Attributes:
        rounds: of the cascade, the proxy and the larger tier.
        questions: of a loop.
        warm: questions before it that do not count.
        alone: questions that the larger tier is asked one at a time.
        every: of the recorded questions, each one after so many chooses.
        with_small: whether the smaller tier alone is asked.
    """

    rounds: int
    questions: int
    warm: int
    alone: int
    every: int
    with_small: bool


FULL = Size(rounds=3, questions=150, warm=8, alone=20, every=1, with_small=True)
SMOKE = Size(rounds=1, questions=6, warm=2, alone=2, every=5, with_small=False)


class Player:
    """Plays steps.

    Args:
        questions: all that may be asked live.
        others: that warm caches, or are asked one at a time.
    """

    def __init__(
        self,
        lineup: Lineup,
        size: Size,
        questions: Sequence[LiveQuestion],
        others: Sequence[LiveQuestion],
    ) -> None:
        self._lineup, self._size = lineup, size
        self._questions, self._others = questions, others

    def play(self, step: Step, done: Sequence[PlayedStep]) -> PlayedStep:
        """Start a step's servers and play both loops of its round."""
        began, size = time.monotonic(), self._size
        alone = None
        with ExitStack() as stack:
            group = start(stack, step.group, step.number, self._lineup)
            for system in group.systems:
                self._play_loop(system, CLOSED, group, step.number)
                system.memory_gb = memory_gb(processes(system.pids))
            if step == Step(number=0, group=LARGE):
                alone = self._one_at_a_time(group)
                full = rate_of(group.systems[0])
            else:
                full = _full(done)
            for system in group.systems:
                if system.is_rival:
                    at_s = poisson_arrivals_s(OPEN.share * full, size.questions, SEED + step.number)
                    self._play_loop(system, OPEN.case, group, step.number, at_s.tolist())
        return PlayedStep(
            step=step,
            seconds=time.monotonic() - began,
            rounds={
                system.name: {case: rounds[0] for case, rounds in system.rounds.items()}
                for system in group.systems
            },
            memory_gb={system.name: system.memory_gb for system in group.systems},
            one_at_a_time=alone,
        )

    def _play_loop(
        self,
        system: System,
        case: str,
        group: Group,
        number: int,
        at_s: Sequence[float] | None = None,
    ) -> None:
        """Play a loop, and say how it went."""
        group.refresh(system, taken(self._others, 0, self._size.warm), EXAM)
        # Every loop of a round has questions of its own, as long as there are enough.
        part = number if at_s is None else self._size.rounds + number
        questions = taken(self._questions, part, self._size.questions)
        played = system.play(case, questions, at_s=at_s, exam=EXAM)
        share = sum(played.right) / len(played.right)
        print(
            f"round {number + 1}, {system.name}, {case}: {played.requests_per_s:.2f}/s, "
            f"{share:.3f} right",
            file=sys.stderr,
            flush=True,
        )

    def _one_at_a_time(self, group: Group) -> OneAtATime:
        [system] = group.systems
        group.refresh(system, taken(self._others, 0, self._size.warm), EXAM)
        questions = taken(self._others, 1, self._size.alone)
        bodies = requests(questions, max_tokens=EXAM.max_tokens, stream_interval=1)
        sent = send_all(system.port, bodies, 1)
        return OneAtATime(
            latencies_ms=sent.latencies_ms,
            first_ms=[1000 * reply.first_byte_s for reply in sent.replies],
        )


def _full(done: Sequence[PlayedStep]) -> float:
    """What the larger tier alone has answered a second in its first closed loop."""
    [first] = [each for each in done if each.step == Step(number=0, group=LARGE)]
    [loops] = first.rounds.values()
    return loops[CLOSED].requests_per_s


def run_name(*parts: object) -> str:
    """Names all that steps of one measurement have in common."""
    return blake2b(msgspec.json.encode(parts), digest_size=6).hexdigest()


def measure(
    options: argparse.Namespace, size: Size, models: dict[str, Path], records: Records, work: Path
) -> str | None:
    """Play what is missing, and write what all steps show; None where some are left.

    Args:
        work: a folder that may be lost.
    """
    tokenizer, router = models[TIERS[0]], work / "ngrams.json"
    facts = facts_of_this_run("bench.real.live")
    prompts = prompts_of(records.questions, tokenizer)
    choice = choose(records, options.margin, tokenizer, prompts, router)
    lineup = Lineup(
        folder=work,
        models=models,
        choice=choice,
        router=router,
        litellm=options.litellm,
        port=options.port,
    )
    player = Player(
        lineup,
        size,
        live_questions(records, prompts, TEST),
        live_questions(records, prompts, CHOOSE),
    )
    names = [path.name for path in models.values()]
    run = run_name(names, records.answers, options.margin, size, options.litellm is not None)
    path = (work if options.smoke else CACHE) / f"live-{run}.json"
    planned = steps(size.rounds, with_small=size.with_small)
    played = play_missing(path, planned, options.minutes, player.play)
    if played is None:
        return None
    rows = records.rows(TEST)
    replay = replay_of([records.answers[row] for row in rows], records.labels(rows))
    result = comparison(choice, played, replay)
    text = page(result)
    if not options.smoke:
        title = f"# {' and '.join(names)}, live\n\n{source_line(facts)}\n\n{text}\n"
        save(facts, BENCH, estimates(result), title, " under ".join(names))
    return text


def main() -> None:
    """Measure, print, and write the rows and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for tier in TIERS:
        help_text = f"folder of the {tier} model; both have one tokenizer"
        parser.add_argument(f"--{tier}", type=Path, required=True, help=help_text)
    parser.add_argument("--litellm", type=Path, help="its command; left out where there is none")
    parser.add_argument(
        "--margin", type=float, default=MARGIN, help="below the larger tier's accuracy"
    )
    parser.add_argument("--minutes", type=float, default=40.0, help="no step ends after them")
    parser.add_argument("--port", type=int, default=32_400, help="below that of the first server")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    options = parser.parse_args()
    if options.litellm is not None and not options.litellm.exists():
        print(f"without LiteLLM: there is no {options.litellm}", file=sys.stderr)
        options.litellm = None
    models = {"small": options.small.resolve(), "large": options.large.resolve()}
    # A smoke's models may have no records; others' records choose as well.
    recorded = MODELS if options.smoke else [path.name for path in models.values()]
    size = SMOKE if options.smoke else FULL
    with tempfile.TemporaryDirectory() as folder:
        text = measure(options, size, models, load_records(recorded, size.every), Path(folder))
    if text is not None:
        print(text)


if __name__ == "__main__":
    main()
