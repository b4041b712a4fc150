"""The public names of the package."""

import inspect
import re
from typing import Any

import cascadia_sglang
from docs.generate.markdown import document, paragraph

_MODULE = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Z]\w+)|pathlib\.")


def page() -> str:
    """A section per public name: how it is called, and what it says of itself."""
    names = [name for name in cascadia_sglang.__all__ if not name.startswith("__")]
    return document(
        "Python API",
        paragraph(
            "These names are public: they change only with a line in the changelog. "
            "`import cascadia_sglang` loads neither PyTorch nor SGLang. Each name loads what it "
            "needs when it is first used."
        ),
        "```python\nfrom cascadia_sglang import load_problem, solve\n\n"
        'plan = solve(load_problem("examples/problem.json"))\n```',
        *(_section(name, getattr(cascadia_sglang, name)) for name in names),
        "## \\_\\_version\\_\\_",
        "The version of the package, as text.",
    )


def _section(name: str, value: Any) -> str:
    text = inspect.getdoc(value) or ""
    parts = [f"## {name}"]
    if not inspect.isclass(value):
        parts.append(f"```python\n{name}{_signature(value)}\n```")
    return "\n\n".join([*parts, _as_lists(text)])


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    shown = _MODULE.sub("", str(signature)).replace("'", "")
    if len(shown) < 80:
        return shown
    inner, _, result = shown[1:].rpartition(") -> ")
    lines = ",\n".join(f"    {part}" for part in re.split(r", (?![^\[]*\])", inner))
    return f"(\n{lines},\n) -> {result}"


def _as_lists(text: str) -> str:
    """A docstring with its sections as lists."""
    lines: list[str] = []
    for line in text.splitlines():
        if line in ("Args:", "Returns:", "Raises:", "Attributes:"):
            lines += [line, ""]
        elif line.startswith("        "):
            lines.append(f"  {line.strip()}")
        elif line.startswith("    "):
            lines.append(f"- {line.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)
