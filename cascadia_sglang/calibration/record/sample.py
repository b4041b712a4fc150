"""The operator's sample: one question a line of a JSONL file."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.files.json_text import json_data, without_bom

# Grammars by which SGLang constrains an answer, as its sampling parameters name them.
CONSTRAINTS = ("json_schema", "regex", "ebnf")


# Fields of a chat request's body that say how it was sent and sampled: the command has its own.
_OF_THE_REQUEST = {
    *("max_completion_tokens", "max_tokens", "metadata", "model", "n", "seed", "service_tier"),
    *("store", "stream", "stream_options", "temperature", "top_p", "user"),
}
# Fields of a body that shape what the model reads or may write.
_CHAT_FIELDS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "chat_template_kwargs",
    "reasoning_effort",
)


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the sample.

    Attributes:
        id: unique.
        messages, prompt: a chat or a text, exactly one of them; it decides which part of the sample
            the question belongs to.
        reference: what the answer is compared with; a number stands for its text. A list holds
            several, of which the answer needs to fit one.
        label: how its answers are labelled, in place of `--label`; one of `labels.KINDS`, but no
            command.
        group: its kind, for what is reported apart.
        constraint: one of `json_schema`, `regex` and `ebnf` with its text.
        tools, tool_choice, parallel_tool_calls, response_format, chat_template_kwargs,
            reasoning_effort: of a chat, as OpenAI's clients and SGLang's name them.
    """

    id: str
    messages: list[dict[str, Any]] | None = None
    prompt: str | None = None
    reference: str | int | float | list[str | int | float] | None = None
    label: str | None = None
    group: str | None = None
    constraint: dict[str, str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id is empty")
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("one of messages and prompt is needed")
        if self.constraint is not None and (
            len(self.constraint) != 1 or not set(self.constraint) <= set(CONSTRAINTS)
        ):
            raise ValueError(f"constraint needs one of {', '.join(CONSTRAINTS)}")
        if self.reference == []:
            raise ValueError("reference is empty, allowed: a text, a number, or a list of them")
        if self.messages is None and self.chat_fields():
            raise ValueError(f"{next(iter(self.chat_fields()))} needs messages")

    def chat_fields(self) -> dict[str, Any]:
        """Fields that are sent with a chat's messages, where the line has them."""
        fields = {name: getattr(self, name) for name in _CHAT_FIELDS}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def is_constrained(self) -> bool:
        """Whether the answer is written under a grammar."""
        kind = (self.response_format or {}).get("type", "text")
        is_tool_forced = bool(self.tools) and (
            self.tool_choice == "required" or isinstance(self.tool_choice, dict)
        )
        return self.constraint is not None or kind != "text" or is_tool_forced

    @property
    def references(self) -> list[str]:
        """Texts of the references; empty without one."""
        if self.reference is None:
            return []
        given = self.reference if isinstance(self.reference, list) else [self.reference]
        return [str(reference) for reference in given]


def prompt_key(question: Question) -> str:
    """A digest that questions share where they ask the same.

    Spaces around a text do not count, and a chat of one user message asks what its text asks. How
    the answer is labelled and constrained does not count either. Tools do: they are part of what
    the model reads.
    """
    messages = question.messages
    if messages is None:
        messages = [{"role": "user", "content": question.prompt}]
    stripped = [{name: _stripped(value) for name, value in message.items()} for message in messages]
    content = [stripped, question.tools] if question.tools else stripped
    encoded = msgspec.json.encode(content, order="deterministic")
    return blake2b(encoded, digest_size=8).hexdigest()


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def read_sample(path: Path) -> list[Question]:
    """Read every question; blank lines are passed over.

    A line may be the body of a chat request. What it says of sampling and sending is passed over,
    and without an id it gets that of its line.

    Raises:
        CalibrationError: names the file and the number of the first line that does not fit.
    """
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        try:
            question = msgspec.convert(_asked(msgspec.json.decode(line), number), Question)
            json_data(line)
        except (msgspec.DecodeError, ValueError) as error:
            raise CalibrationError(f"sample {path}, line {number}: {error}") from error
        if question.id in seen:
            raise CalibrationError(
                f"sample {path}, line {number}: id {question.id!r} is on line "
                f"{seen[question.id]} already"
            )
        seen[question.id] = number
        questions.append(question)
    if not questions:
        raise CalibrationError(f"sample {path}: no question in it")
    return questions


def _asked(data: Any, number: int) -> Any:
    """What counts of a line."""
    if not isinstance(data, dict):
        return data
    if "messages" in data:
        data = {name: value for name, value in data.items() if name not in _OF_THE_REQUEST}
    return {"id": f"line-{number}", **data}


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"sample {path}: {error.strerror}") from error
    for number, line in enumerate(without_bom(content).split(b"\n"), 1):
        if line.strip():
            yield number, line
