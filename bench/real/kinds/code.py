"""Short pieces of Python; Python itself says what each prints."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from random import Random

from bench.real.kinds.task import Facts, Kind, Task
from bench.real.mixes.expressions import EXPRESSIONS


def _expression(rng: Random) -> Facts:
    text = rng.choice(tuple(EXPRESSIONS.values()))(rng)
    # The text is made here, out of numbers and known words.
    return Facts(fields={"code": text}, answers=(str(eval(text)),))


def _program(rng: Random) -> Facts:
    start, step, count = rng.randint(0, 9), rng.randint(1, 5), rng.randint(2, 5)
    numbers = [rng.randint(1, 9) for _ in range(count)]
    code = rng.choice(
        (
            f"x = {start}\nfor i in range({count}):\n    x = x + {step}\nprint(x)",
            f"x = {start}\nfor n in {numbers}:\n    x = x + n\nprint(x)",
            f"x = {start}\nwhile x < {start + step * count}:\n    x += {step}\nprint(x)",
            f"x = {start + 2}\nfor i in range({count}):\n    x = x * 2 - i\nprint(x)",
            f"n = 0\nfor v in {numbers}:\n    if v > {step}:\n        n += 1\nprint(n)",
            f"def f(a, b={step}):\n    return a * b\nprint(f({start}) + f({count}, 2))",
            f"s = ''\nfor c in '{chr(97 + start)}{chr(98 + step)}':\n    s = c + s\nprint(s)",
            f"a = {numbers}\na.append({start})\na.pop(0)\nprint(a[0] + a[-1])",
        )
    )
    printed = StringIO()
    with redirect_stdout(printed):
        exec(code, {})
    return Facts(fields={"code": code}, answers=(printed.getvalue().strip(),))


KIND: Kind = (
    Task(
        draw=_expression,
        wordings=(
            "What does Python print? print({code})",
            "Evaluate this Python expression: {code}",
            "Give the output of the Python statement print({code}).",
            "In a Python shell, what is shown after entering {code}?",
            "x = {code}\nWhat is x in Python?",
            "Python 3: {code} evaluates to what?",
            "State the value of the following Python code.\n```python\n{code}\n```",
            "A student types print({code}) and runs Python. What appears?",
        ),
    ),
    Task(
        draw=_program,
        wordings=(
            "What does this program print?\n{code}",
            "Give the output of this Python code:\n```python\n{code}\n```",
            "Run this in your head and state its output.\n{code}",
            "```python\n{code}\n```\nOutput?",
            "The file main.py contains:\n{code}\nWhat is written to the terminal?",
            "Which text does Python 3 print here?\n{code}",
            "Trace the program and give what it prints.\n```\n{code}\n```",
            "I ran the code below. What did I see?\n{code}",
        ),
    ),
)
