"""Whether a text's answer is a phrase: a name, a word, "yes", or a list.

Case, articles at the start, quotes, final punctuation and spaces around signs do not count. What
stands beside the phrase must be an explanation, not another answer.
"""

# ruff: noqa: RUF001  signs of mathematics and typography stand for themselves
import re

from cascadia_sglang.calibration.answers.final_answer import final_answer
from cascadia_sglang.calibration.answers.plain_text import plain_text
from cascadia_sglang.judge.same_answer import plain_answer

_SPACE_AT_SIGNS = re.compile(r"[ \t]*([,;:/\[\](){}])[ \t]*")
_ARTICLE = re.compile(r"(?:the|an?)\s+(?=\S)")
_BRACKETS = re.compile(r"[(\[]([^()\[\],]*)[)\]]")
# What may follow an answer: the end of the sentence, an addition in brackets, or a reason.
_ENDS_AFTER = re.compile(
    r"\s*$|[.!;](?=\s|$)(?!\s*(?:or|no|not|wait|actually|but)\b)|\s*\n|\s+\(|\s+[-–—]\s"
    r"|,?\s+(?:which|who|where|with|because|since|as|not|rather than|instead of)\b"
    r"|,\s+(?:it|he|she|they|this|that|these|there|we|i|the)\b"
    # As in "A) Paris" and "(A) Paris".
    r"|\)(?=\s|$)(?!\s+(?:or|and)\b)"
)
# What may follow a verdict: any statement.
_VERDICTS = ("yes", "no", "true", "false")
_STATEMENT = re.compile(r",\s")
_VERB = re.compile(
    r"\b(?:(?:is|are|was|were)(?:\s+(?:called|named|known as|\w+ by))?|equals|prints|outputs"
    r"|returns|gives|evaluates to)\b:?\s+|\b(?:it|that|this|he|she)'s\s+"
)
_IN_DOUBT = re.compile(
    r"\b(?:not|never|no|nor|neither|cannot|wrong|incorrect|false|if|unless|whether|might|may|could"
    r"|would|or|used to|formerly|once|except|than|some|unclear|unknown|unsure|undecided|doubt\w*)\b"
    r"|n't\b|\?"
)
_MARKUP = 200  # characters around a phrase that may not count
_SENTENCE = re.compile(r"[.!]\s+|\n+")
_LEADING = r"[\s\"'*:“”‘’«»]*(?:(?:the|an?)\s+)?[\"'*“‘«(]*"
_CLOSING = r"[\"'*”’»]*"


def plain_words(text: str) -> str:
    """A phrase without what does not count."""
    plain = _ARTICLE.sub("", plain_answer(plain_text(text)), count=1)
    plain = _SPACE_AT_SIGNS.sub(r"\1", plain)
    inner = _BRACKETS.fullmatch(plain)
    return inner[1] if inner else plain


def gives_words(text: str, phrase: str) -> bool:
    """Whether a text gives a phrase, in the form of `plain_words`, as its answer."""
    answer = final_answer(text)
    if answer is None or answer.text.rstrip().endswith("?"):
        return False
    is_short = len(answer.text) <= len(phrase) + _MARKUP
    if is_short and plain_words(answer.text) == phrase:
        return True
    folded = answer.text.casefold()
    if _begins_with(folded, phrase):
        return True
    sentences = [part for part in _SENTENCE.split(folded) if part.strip()]
    if not sentences:
        return False
    sentence = sentences[0] if answer.is_marked else sentences[-1]
    return _is_said(phrase, sentence, is_alone=len(sentences) == 1)


def _begins_with(text: str, phrase: str) -> bool:
    """Whether a text begins with the phrase, and no other answer follows."""
    match = re.match(_LEADING + _as_pattern(phrase) + _CLOSING, text)
    if not phrase or match is None:
        return False
    is_verdict = phrase in _VERDICTS and _STATEMENT.match(text, match.end())
    return bool(is_verdict or _ENDS_AFTER.match(text, match.end()))


def _as_pattern(phrase: str) -> str:
    """Matches a phrase however its signs are spaced."""
    parts = re.findall(r"[,;:/\[\](){}]|\s+|[^,;:/\[\](){}\s]+", phrase)
    return "".join(
        r"\s+"
        if part.isspace()
        else rf"[ \t]*{re.escape(part)}[ \t]*"
        if _SPACE_AT_SIGNS.fullmatch(part)
        else re.escape(part)
        for part in parts
    )


def _is_said(phrase: str, sentence: str, *, is_alone: bool) -> bool:
    """Whether a sentence says that something is the phrase, or, where it is alone, the reverse."""
    if _IN_DOUBT.search(re.sub(rf"\b{re.escape(phrase)}\b", " ", sentence)):
        return False
    verbs = list(_VERB.finditer(sentence))
    if any(_begins_with(sentence[verb.end() :], phrase) for verb in verbs):
        return True
    subject = sentence[: verbs[0].start()] if is_alone and len(verbs) == 1 else ""
    return len(subject) <= len(phrase) + _MARKUP and plain_words(subject) == phrase
