"""The names of SGLang's flags, without importing SGLang, which takes seconds."""

import ast
import importlib.util
from pathlib import Path

# Where SGLang declares them: a class a namespace, which its path marks.
_FOLDER = Path("srt", "arg_groups", "fields")
_MARK = "_NS_PATH"


def flag_names() -> frozenset[str]:
    """Field names of SGLang's `ServerArgs`, read from its source."""
    package = importlib.util.find_spec("sglang")
    names: set[str] = set()
    if package is not None and package.origin is not None:
        for path in sorted((Path(package.origin).parent / _FOLDER).glob("*.py")):
            names.update(*map(_fields, ast.parse(path.read_text(encoding="utf-8")).body))
    return frozenset(names) or _imported()


def _fields(statement: ast.stmt) -> list[str]:
    """Of a statement that is the class of a namespace; none of others."""
    if not isinstance(statement, ast.ClassDef):
        return []
    marks = [
        target.id
        for one in statement.body
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Name)
    ]
    if _MARK not in marks:
        return []
    return [
        one.target.id
        for one in statement.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    ]


def _imported() -> frozenset[str]:
    """The same where the source lies elsewhere."""
    import msgspec
    from sglang.srt.server_args import ServerArgs

    return frozenset(field.name for field in msgspec.structs.fields(ServerArgs))
