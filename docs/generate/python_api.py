"""The public names of the package."""

import ast
import inspect
import re
from typing import Any

import cascadia_sglang
from cascadia_sglang.field_docs import field_docs
from docs.generate.markdown import code, document, paragraph, table

_MODULE = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Z]\w+)|pathlib\.")
# An annotation in quotes; a default in quotes keeps them.
_QUOTED = re.compile(r"(: |-> )'([^']*)'")

# Pages that document a struct's fields as keys of a file.
_PAGES = {
    cascadia_sglang.CascadeConfig: "configuration.md",
    cascadia_sglang.Problem: "problem-file.md",
}


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
        'plan = solve(load_problem("problem.json"))\n```',
        *(_section(name, getattr(cascadia_sglang, name)) for name in names),
        "## \\_\\_version\\_\\_",
        "The version of the package, as text.",
    )


def _section(name: str, value: Any) -> str:
    parts = [f"## {name}"]
    if value in _PAGES:
        parts += [
            (inspect.getdoc(value) or "").split("\n\n")[0],
            f"See [its keys]({_PAGES[value]}).",
        ]
    elif inspect.isclass(value):
        parts += [_as_lists(inspect.getdoc(value) or ""), _fields(value)]
    else:
        parts += [
            f"```python\n{name}{_signature(value)}\n```",
            _as_lists(inspect.getdoc(value) or ""),
        ]
    return "\n\n".join(part for part in parts if part)


def _fields(kind: type) -> str:
    """A table of the fields with docstrings; empty where there are none."""
    docs = field_docs(kind)
    (tree,) = ast.parse(inspect.getsource(kind)).body
    types = {
        node.target.id: ast.unparse(node.annotation)
        for node in getattr(tree, "body", ())
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    rows = [(code(name), code(types[name]), text) for name, text in docs.items()]
    return table(("field", "type", "meaning"), rows) if rows else ""


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    shown = _QUOTED.sub(r"\1\2", _MODULE.sub("", str(signature))).replace("'", '"')
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
