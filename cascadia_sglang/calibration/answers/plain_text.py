"""A model's text without LaTeX, Markdown and tags.

Powers are written with `^`, fractions with `/`, and thousands with commas. Commands of LaTeX that
are not in the table stay.
"""

# ruff: noqa: RUF001  signs of mathematics and typography stand for themselves
import re
import unicodedata
from collections.abc import Callable

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_VULGAR_FRACTION = re.compile("[¼½¾⅐-⅞]")
# Spaces that do not break, and those of LaTeX, between groups of three digits.
_GROUPS = re.compile(r"(?<=\d)(?:[\u00a0\u2009\u202f_]|\\[,;:!]|\{,\})(?=\d{3}(?!\d))")
# The dollars of a formula touch it, and no digit follows the second one.
_FORMULA = re.compile(r"(?<!\\)\$\$?(?=[^\s$])([^$\n]*[^\s$\\])\$\$?(?!\d)")
_BRACKETS = re.compile(r"\\[()\[\]]")
_SPACES = re.compile(r"\\[,;:! ]|~")
_WORDS = re.compile(
    r"\\(?:text|textbf|textit|texttt|mathrm|mathbf|mathit|operatorname) *\{([^{}]*)\}"
)
_FRACTION = re.compile(r"\\[dtc]?frac *(?:\{([^{}]*)\}|(\d)) *(?:\{([^{}]*)\}|(\d))")
_POWER = re.compile(r"\^ *\{ *([^{}]*?) *\}")
_DEGREES = re.compile(r"\^ *(?:\\circ|\{ *\\circ *\})")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_COMMANDS = {
    "times": "×", "cdot": "×", "ast": "×", "div": "÷", "pm": "±", "leq": "≤", "le": "≤",
    "geq": "≥", "ge": "≥", "lt": "<", "gt": ">", "approx": "≈", "sim": "≈", "neq": "≠", "ne": "≠",
    "pi": "π", "sqrt": "√", "degree": "°", "ldots": "...", "dots": "...", "infty": "∞",
    "to": "→", "rightarrow": "→", "Rightarrow": "→", "implies": "→",
    "left": "", "right": "", "displaystyle": "", "quad": " ", "qquad": " ",
}  # fmt: skip
_ATOM = re.compile(r"[-+]?[\d.,]+|[A-Za-z]")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,40}>")
_EMPHASIS = re.compile(r"(?<![\w*])(?:\*\*|__)(?=\S)|(?<=\S)(?:\*\*|__)(?![\w*])|`")
_SIGNS = str.maketrans({"−": "-", "’": "'", "‘": "'", "⁄": "/", "⋅": "×", "·": "×"})
_DEEPEST = 4  # fractions within fractions


def plain_text(text: str) -> str:
    """The text without its markup."""
    text = _GROUPS.sub(",", text)
    text = _SUPERSCRIPT.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text)
    text = _VULGAR_FRACTION.sub(_spaced, text)
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
    text = _EMPHASIS.sub("", text)
    if "\\" in text or "$" in text:
        text = _without_latex(text)
    return _TAG.sub(" ", text)


def _without_latex(text: str) -> str:
    text = _BRACKETS.sub(" ", _FORMULA.sub(r" \1 ", text))
    text = _SPACES.sub(" ", text).replace(r"\%", "%").replace(r"\$", "$")
    text = _DEGREES.sub("°", text)
    text = _innermost_first(_WORDS, lambda match: " " + match[1], text)
    text = _POWER.sub(r"^\1", text)
    text = _innermost_first(_FRACTION, _division, text)
    text = _COMMAND.sub(lambda match: _COMMANDS.get(match[1], match[0]), text)
    return text.replace("{", "").replace("}", "")


def _innermost_first(
    pattern: re.Pattern[str], by: Callable[[re.Match[str]], str], text: str
) -> str:
    for _ in range(_DEEPEST):
        text, count = pattern.subn(by, text)
        if not count:
            break
    return text


def _division(match: re.Match[str]) -> str:
    """A fraction on one line; what is more than a number or a letter gets brackets."""
    over, under = (
        next(part for part in parts if part is not None).strip()
        for parts in ((match[1], match[2]), (match[3], match[4]))
    )
    over, under = (part if _ATOM.fullmatch(part) else f"({part})" for part in (over, under))
    return _after_whole_number(match, f"{over}/{under}")


def _spaced(match: re.Match[str]) -> str:
    return _after_whole_number(match, unicodedata.normalize("NFKC", match[0]))


def _after_whole_number(match: re.Match[str], fraction: str) -> str:
    """The fraction, apart from the digits before it: they are the whole part of a mixed number."""
    before = match.string[max(0, match.start() - 1) : match.start()]
    return f" {fraction}" if before.isdigit() else fraction
