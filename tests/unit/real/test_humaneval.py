"""HumanEval's programs in the sandbox: right code passes, anything else does not."""

import time
from pathlib import Path

import pytest

from bench.real.humaneval.problems import Problem, chat, program
from bench.real.humaneval.sandbox import succeeds

PROBLEM = Problem(
    number=0,
    prompt='from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Sum."""\n',
    function="total",
    test="def check(f):\n    assert f([1, 2]) == 3\n    assert f([]) == 0\n",
)
RIGHT = "def total(xs: List[int]) -> int:\n    return sum(xs)"


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{RIGHT}\n```",
        f"Here it is:\n```\n{RIGHT}\n```\nIt adds them up.",
        f"```py\n{RIGHT}",
        RIGHT,
        "```python\n    return sum(xs)\n```",
        f"```python\nimport math\n\n{RIGHT}\n```\n```python\nprint(total([1]))\n```",
    ],
)
def test_right_code_passes_however_it_is_wrapped(text: str) -> None:
    assert succeeds(program(PROBLEM, text))


@pytest.mark.parametrize(
    "text",
    [
        "```python\ndef total(xs):\n    return 1 + sum(xs)\n```",
        "```python\ndef total(xs):\n    return sum(xs\n```",
        "I cannot do that.",
        "```python\nimport sys\nsys.exit(0)\ndef total(xs):\n    return sum(xs)\n```",
        "```python\ndef total(xs):\n    import os\n    os._exit(0)\n```",
        "```python\ndef total(xs):\n    return [0] * 10**10\n```",
    ],
)
def test_wrong_code_fails(text: str) -> None:
    assert not succeeds(program(PROBLEM, text))


def test_endless_code_is_ended_in_time() -> None:
    started = time.monotonic()
    assert not succeeds("while True:\n    pass", cpu_s=1)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    "code",
    [
        "open({path!r}, 'w').write('x')",
        "import os; os.system('touch {path}')",
        "import subprocess; subprocess.run(['touch', {path!r}])",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import os; os.fork()",
    ],
)
def test_a_program_reaches_nothing(code: str, tmp_path: Path) -> None:
    path = str(tmp_path / "made")
    assert not succeeds(code.format(path=path))
    assert not (tmp_path / "made").exists()


def test_the_chat_holds_the_whole_prompt() -> None:
    [message] = chat(PROBLEM)
    assert PROBLEM.prompt.rstrip() in message["content"]
