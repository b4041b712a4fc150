"""An answer of the chat route, read from the whole of it or from its stream."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.system.client_tour.tools import Call, arguments_of


@dataclass(frozen=True)
class Choice:
    """One choice. Space around a text beside others is no part of it: unstreamed, it is cut off.

    Attributes:
        calls: place, name and arguments of each.
        logprobs: each token with the alternatives to it.
    """

    content: str
    reasoning: str
    calls: tuple[Call, ...]
    finish: str | None
    logprobs: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Tokens:
    """How many a usage counts."""

    prompt: int
    completion: int
    total: int
    reasoning: int


@dataclass(frozen=True)
class ChatAnswer:
    """All choices, and the usage where it was asked for."""

    choices: tuple[Choice, ...]
    usage: Tokens | None


@dataclass
class _Draft:
    """A choice while its stream is read."""

    content: str = ""
    reasoning: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    finishes: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)

    def choice(self) -> Choice:
        assert len(self.finishes) == 1, "a stream ends once"
        assert len(set(self.ids.values())) == len(self.calls), "every call has an id of its own"
        return Choice(
            content=self.content.strip(),
            reasoning=self.reasoning.strip(),
            calls=tuple(
                (index, name, arguments_of(arguments))
                for index, (name, arguments) in sorted(self.calls.items())
            ),
            finish=self.finishes[0],
            logprobs=_tokens(self.logprobs),
        )


def whole_chat(reply: ChatCompletion) -> ChatAnswer:
    choices = []
    for choice in reply.choices:
        message = choice.message
        calls = message.tool_calls or []
        assert len({call.id for call in calls}) == len(calls)
        choices.append(
            Choice(
                content=(message.content or "").strip(),
                reasoning=(getattr(message, "reasoning_content", None) or "").strip(),
                calls=tuple(
                    (index, call.function.name, arguments_of(call.function.arguments))
                    for index, call in enumerate(calls)
                ),
                finish=choice.finish_reason,
                logprobs=_tokens(choice.logprobs.content if choice.logprobs else []),
            )
        )
    return ChatAnswer(tuple(choices), _counts(reply.usage))


def streamed_chat(chunks: Iterable[ChatCompletionChunk]) -> ChatAnswer:
    """Join the deltas. Nothing but usage may come once every choice has ended."""
    drafts: dict[int, _Draft] = {}
    usage = None
    for chunk in chunks:
        assert usage is None, "nothing comes after the usage"
        if not chunk.choices:
            usage = chunk.usage
        for choice in chunk.choices:
            draft = drafts.setdefault(choice.index, _Draft())
            assert not draft.finishes, "nothing of a choice comes after its end"
            delta = choice.delta
            draft.content += delta.content or ""
            draft.reasoning += getattr(delta, "reasoning_content", None) or ""
            for call in delta.tool_calls or []:
                name_and_arguments = draft.calls.setdefault(call.index, ["", ""])
                name_and_arguments[0] += call.function.name or ""
                name_and_arguments[1] += call.function.arguments or ""
                if call.id:
                    assert call.index not in draft.ids, "a call is named once"
                    draft.ids[call.index] = call.id
            if choice.logprobs:
                draft.logprobs += choice.logprobs.content or []
            if choice.finish_reason:
                draft.finishes.append(choice.finish_reason)
    return ChatAnswer(tuple(drafts[n].choice() for n in sorted(drafts)), _counts(usage))


def _tokens(entries: list[Any] | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (entry.token, tuple(other.token for other in entry.top_logprobs)) for entry in entries or []
    )


def _counts(usage: CompletionUsage | None) -> Tokens | None:
    if usage is None:
        return None
    details = usage.completion_tokens_details
    reasoning = (details.reasoning_tokens if details else 0) or 0
    return Tokens(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, reasoning)
