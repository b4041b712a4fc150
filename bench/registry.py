"""What a bench is, and the commands that run it. The benches themselves: `bench.benches`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CPU, GPU, LITELLM, REAL_MODELS = "cpu", "gpu", "litellm", "real models"
REAL_LADDER = "real ladder"
FILES = "files of others"
CHECKOUT = "another checkout"

NEEDS: Mapping[str, str] = {
    CPU: "the machine that runs the demo, without a GPU",
    GPU: "a CUDA device",
    LITELLM: "LiteLLM in an environment of its own; the bench leaves it out where it is missing",
    REAL_MODELS: "folders of two instruction models of one tokenizer",
    REAL_LADDER: "these two models, and a smaller one of another tokenizer",
    CHECKOUT: "a checkout of another commit of this project",
    FILES: "questions or a trace that are not part of this project",
}


# Modules with a command line that are no benches, and what starts them.
PROCESSES: Mapping[str, str] = {
    "bench.gpu_check.bare_machine.imports": "bench.gpu_check.checks.setup",
    "bench.gpu_check.bare_machine.pack": "make gpu-check-pack",
    "bench.gpu_check.checks.one_step": "bench.gpu_check.checks.tools",
    "bench.gpu_check.stage": "bench.gpu_check.runner",
    "bench.rivals.fronts.encoder": "bench.rivals.systems",
    "bench.rivals.fronts.gateway": "bench.rivals.systems",
    "bench.rivals.fronts.ngrams": "bench.rivals.systems",
    "bench.rivals.fronts.proxy": "bench.rivals.systems",
    "bench.router.add_workers": "bench.router.start",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One bench.

    Attributes:
        name: of its module, below `bench`.
        question: that its numbers answer.
        writes: its results, as paths below `bench/`; `*` stands for a number.
        needs: keys of `NEEDS`.
        minutes: of a whole run on two cores; None where nobody has timed one.
        runs: the arguments of each command of a whole run, in their order.
        smoke: the arguments of each brief command, which writes nothing; empty if there is none.
        before: commands that make what it reads. What is there already is not made again.
        inputs: options that a whole run must be given.
        may_take: options that it can do without.
        is_in_all: whether `run --all` includes it.
    """

    name: str
    question: str
    writes: tuple[str, ...] = ()
    needs: tuple[str, ...] = (CPU,)
    minutes: float | None = None
    runs: tuple[str, ...] = ("",)
    smoke: tuple[str, ...] = ("--smoke",)
    before: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    may_take: tuple[str, ...] = ()
    is_in_all: bool = True

    @property
    def module(self) -> str:
        """Of the command `python -m`."""
        return f"bench.{self.name}"

    @property
    def arguments(self) -> list[str]:
        """Of each command of a whole run, with a word for every option that it must be given."""
        options = "".join(f" --{name} PATH" for name in self.inputs)
        return [f"{run}{options}".strip() for run in self.runs]

    def commands(self, values: Mapping[str, str], more: Sequence[str] = ()) -> list[list[str]]:
        """The arguments of `python -m` of a whole run, in their order.

        Args:
            values: values of options, by name; those that the bench does not take are left out.
            more: added to each command of the bench itself.

        Raises:
            ValueError: if an option is missing.
        """
        missing = [f"--{name}" for name in self.inputs if name not in values]
        if missing:
            raise ValueError(f"{self.name} needs {' and '.join(missing)}")
        options_taken = [name for name in (*self.inputs, *self.may_take) if name in values]
        options = [word for name in options_taken for word in (f"--{name}", values[name])]
        main_commands = [[self.module, *shlex.split(run), *options, *more] for run in self.runs]
        return [*map(shlex.split, self.before), *main_commands]

    def smoke_commands(self, more: Sequence[str] = ()) -> list[list[str]]:
        """Likewise of the brief run."""
        return [[self.module, *shlex.split(run), *more] for run in self.smoke]


def named(benches: Sequence[Bench], names: Sequence[str]) -> list[Bench]:
    """The benches of these names, in the order of the registry; a folder names all of its benches.

    Raises:
        ValueError: for a name that is neither.
    """
    chosen = []
    for name in names:
        matches = [
            bench for bench in benches if bench.name == name or bench.name.startswith(f"{name}.")
        ]
        if not matches:
            raise ValueError(f"no bench is called {name}; `python -m bench list` names them")
        chosen += matches
    return [bench for bench in benches if bench in chosen]
