"""Answers of SGLang's OpenAI handlers as Ollama's clients read them: whole, or line by line."""

import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

logger = logging.getLogger(__name__)

_TOKENS = ("prompt_tokens", "completion_tokens")


@dataclass(slots=True)
class Answer:
    """One answer as it comes in, and the lines that tell it.

    Attributes:
        model: as the client named it.
        is_chat: whether the text stands in a message, or in `response`.
    """

    model: str
    is_chat: bool
    started_ns: int = field(default_factory=time.time_ns)
    first_ns: int = 0  # when the first part of the answer was there
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)  # by index

    def whole(self, content: dict[str, Any]) -> dict[str, Any]:
        """Ollama's answer to a request that is not streamed, of OpenAI's."""
        choice = content["choices"][0]
        message = choice.get("message") or {"content": choice.get("text")}
        self._note(choice, content.get("usage"), message)
        parts = self._parts(message, choice.get("logprobs")) | self._called()
        return self._line(parts) | self._end()

    def line(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """The line of one chunk of OpenAI's stream; None for one without any of the answer."""
        choices = chunk.get("choices") or [{}]
        delta = choices[0].get("delta") or {"content": choices[0].get("text")}
        self._note(choices[0], chunk.get("usage"), delta)
        parts = self._parts(delta, choices[0].get("logprobs"))
        return self._line(parts) | {"done": False} if any(parts.values()) else None

    def last_line(self) -> dict[str, Any]:
        """The line that ends a stream; it holds the calls of tools."""
        return self._line({"content": ""} | self._called()) | self._end()

    def _note(self, choice: dict[str, Any], usage: Any, delta: dict[str, Any]) -> None:
        self.first_ns = self.first_ns or time.time_ns()
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self.usage = usage or self.usage
        for position, call in enumerate(delta.get("tool_calls") or ()):
            index = call.get("index")
            collected = self.calls.setdefault(
                position if index is None else index, {"name": "", "arguments": ""}
            )
            collected["name"] += call["function"].get("name") or ""
            collected["arguments"] += call["function"].get("arguments") or ""

    def _parts(self, delta: dict[str, Any], logprobs: Any) -> dict[str, Any]:
        parts: dict[str, Any] = {"content": delta.get("content") or ""}
        if delta.get("reasoning_content"):
            parts["thinking"] = delta["reasoning_content"]
        if logprobs and logprobs.get("content"):
            parts["logprobs"] = logprobs["content"]
        return parts

    def _called(self) -> dict[str, Any]:
        if not self.calls:
            return {}
        calls = [
            {"function": {"name": call["name"], "arguments": _arguments(call)}}
            for _, call in sorted(self.calls.items())
        ]
        return {"tool_calls": calls}

    def _line(self, parts: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"model": self.model, "created_at": now}
        if "logprobs" in parts:
            line["logprobs"] = parts.pop("logprobs")
        if self.is_chat:
            return line | {"message": {"role": "assistant", **parts}}
        return line | {"response": parts.pop("content"), **parts}

    def _end(self) -> dict[str, Any]:
        prompt_tokens, answer_tokens = (self.usage.get(name, 0) for name in _TOKENS)
        now_ns = time.time_ns()
        return {
            "done": True,
            "done_reason": "length" if self.finish_reason == "length" else "stop",
            "total_duration": now_ns - self.started_ns,
            "load_duration": 0,
            "prompt_eval_count": prompt_tokens,
            "prompt_eval_duration": self.first_ns - self.started_ns,
            "eval_count": answer_tokens,
            "eval_duration": max(1, now_ns - self.first_ns),
        }


async def lines(events: AsyncIterator[Any], answer: Answer) -> AsyncIterator[bytes]:
    """Ollama's lines of a stream of OpenAI's events.

    An event that tells an error ends the stream with Ollama's line for it.
    """
    async for event in events:
        text = event.decode() if isinstance(event, bytes) else event
        for part in text.split("\n\n"):
            data = part.removeprefix("data: ").strip()
            if not part.startswith("data: ") or data == "[DONE]":
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                yield encoded({"error": chunk["error"]["message"]})
                return
            line = answer.line(chunk)
            if line is not None:
                yield encoded(line)
    yield encoded(answer.last_line())


def encoded(line: dict[str, Any]) -> bytes:
    """One line of a stream."""
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _arguments(call: dict[str, str]) -> dict[str, Any]:
    """Ollama's clients take an object alone."""
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        logger.warning("a call of the tool %r has no object for its arguments", call["name"])
        return {}
    return arguments
