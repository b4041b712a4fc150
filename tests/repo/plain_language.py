"""What can be counted of plain language: long sentences, and words that the project avoids.

python -m tests.repo.plain_language     # a line per finding; exit code 1 where there is one
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.repo.source import ROOT, Source, product_files

MAX_WORDS = 25

# In documents. Each pattern has the words to use in its place.
AVOIDED = {
    r"\banew\b": "again, or from scratch",
    r"\bas it is\b": "unchanged",
    r"\bin force\b": "active",
    r"\bnot looked into\b": "the cause is unknown",
    r"\bwhatever (?:it|they|their|its)\b": "name the thing",
    r"\bwhat is (?:left|told|said)\b": "name the thing",
    r"\b(?:one|a line|a row|a number|a file|a page|a name) (?:a|each) [a-z]+\b": "one per ...",
    r"\bis (?:told|said) (?:of|on|to)\b": "is reported",
    r"\bgoes on\b": "continues",
}

# In identifiers, as a whole word of one: `told_tiers`, `ToldTiers`.
AVOIDED_IN_NAMES = {
    "goes": "a noun, or an active verb",
    "lets": "allows",
    "makes": "builds",
    "says": "reports",
    "stuff": "the noun",
    "telling": "reporting",
    "thereof": "of it",
    "tries": "attempts",
    "whatever": "any",
    "whoever": "the actor",
    "whose": "the owner",
    "wish": "request",
    "wishes": "requests",
}

# Names that are nothing but this word. Fields of a class may be keys of a file: they may stay.
AVOIDED_NAMES = {
    "asked": "request, or question",
    "found": "result, match, or the noun",
    "kept": "remaining, stored, or the noun",
    "known": "the noun",
    "look": "check",
    "one": "the noun",
    "own": "the noun",
    "place": "index, path, device, or position",
    "said": "message, or text",
    "told": "report, or text",
    "wanted": "expected, or target",
}

_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`+[^`]+`+")
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_MARKUP = re.compile(r"^(?:#+ |> ?|[-*+] |\d+\. )")
_SENTENCE_END = re.compile(r"(?<=[.?!])(?<!e\.g\.)(?<!i\.e\.)[)\"']*\s+")
_WORD = re.compile(r"[A-Za-z0-9]")
_PART_OF_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


# Pages outside of docs/ whose prose is checked too.
_ROOT_PAGES = ("CONTRIBUTING.md", "README.md", "SECURITY.md")


def documents() -> list[Path]:
    """The documents whose prose is checked."""
    return sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in _ROOT_PAGES)])


def findings(path: Path) -> Iterator[str]:
    """A line for each long sentence and each avoided phrase of a document."""
    for number, sentence in sentences(path.read_text(encoding="utf-8")):
        location = f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{number}"
        words = len([word for word in sentence.split() if _WORD.search(word)])
        if words > MAX_WORDS:
            yield f"{location}: {words} words, allowed: {MAX_WORDS}: {sentence}"
        for pattern, better in AVOIDED.items():
            if match := re.search(pattern, sentence, re.IGNORECASE):
                yield f"{location}: {match[0]!r}, better: {better}: {sentence}"


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Line number and text of every sentence outside of code; a piece of code is one word.

    A list item, a heading and a cell of a table begin and end sentences.
    """
    for blank in (_FENCE, _COMMENT):
        text = blank.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, block in _blocks(text):
        prose = _LINK.sub(r"\1", _CODE.sub("`code`", block))
        for sentence in _SENTENCE_END.split(prose):
            if sentence.strip():
                yield number, sentence.strip()


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Line number and text of each paragraph, list item, heading and cell."""
    start, lines = 1, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        is_row = stripped.startswith("|")
        if lines and (not stripped or is_row or _MARKUP.match(stripped)):
            yield start, " ".join(lines)
            lines = []
        if is_row:
            yield from ((number, cell) for cell in re.split(r"(?<!\\)\|", stripped) if cell.strip())
        elif stripped:
            start = start if lines else number
            lines.append(_MARKUP.sub("", stripped))
            if stripped.startswith("#"):
                yield number, lines.pop()


def avoided_names(source: Source) -> Iterator[str]:
    """A line for each name that a module binds and that holds an avoided word."""
    fields = {id(target) for target in _fields(source.tree)}
    for node in ast.walk(source.tree):
        for name in _bound(node):
            if name in AVOIDED_NAMES and id(node) not in fields:
                yield f"{source}:{node.lineno}: {name!r}, better: {AVOIDED_NAMES[name]}"
            parts = {part.lower() for part in _PART_OF_NAME.findall(name)}
            for word in sorted(parts & AVOIDED_IN_NAMES.keys()):
                better = AVOIDED_IN_NAMES[word]
                yield f"{source}:{node.lineno}: {name!r} holds {word!r}, better: {better}"


def _fields(tree: ast.AST) -> Iterator[ast.expr]:
    """The annotated names in the body of a class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign):
                    yield statement.target


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


def main() -> int:
    """Print the findings."""
    lines = [line for path in documents() for line in findings(path)]
    lines += [line for source in product_files() for line in avoided_names(source)]
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
