"""Asks a recording server one question, of one tier or of all tiers with drafts."""

import http.client
import json
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from cascadia_sglang.calibration.record.records import DraftRecord, Record
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.errors import RefusedError
from cascadia_sglang.judge.features import FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are written, where a tier's own `sampling` does not say otherwise."""

    temperature: float
    max_tokens: int


def request_of(question: Question, sampling: Sampling) -> tuple[str, dict[str, Any]]:
    """Path and body: a chat goes the way of chats, a text that of texts."""
    if question.messages is None:
        parameters: dict[str, Any] = {
            "temperature": sampling.temperature,
            "max_new_tokens": sampling.max_tokens,
            **(question.constraint or {}),
        }
        return "/generate", {"text": question.prompt, "sampling_params": parameters}
    body: dict[str, Any] = {
        "model": "cascadia",
        "messages": question.messages,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "return_meta_info": True,
        **question.chat_fields(),
    }
    for kind, text in (question.constraint or {}).items():
        if kind == "json_schema":
            schema = {"name": "answer", "schema": json.loads(text)}
            body["response_format"] = {"type": kind, "json_schema": schema}
        else:
            body[kind] = text
    return "/v1/chat/completions", body


def digest_of(question: Question, tier: TierConfig, sampling: Sampling) -> str:
    """Names all that shapes an answer and what is kept of it."""
    parts = (
        request_of(question, sampling),
        tier.model_path,
        tier.server_args,
        tier.sampling,
        tier.prompt_suffix,
        FEATURES,
        "prompt_ids",
    )
    content = msgspec.json.encode(parts, order="deterministic")
    return blake2b(content, digest_size=8).hexdigest()


def draft_digest(question: Question, tiers: Sequence[TierConfig], sampling: Sampling) -> str:
    """Names all that shapes what the last of these tiers makes of the answer of the one before."""
    parts = [digest_of(question, tier, sampling) for tier in tiers]
    return blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def ask(
    connection: http.client.HTTPConnection,
    question: Question,
    tier: TierConfig,
    sampling: Sampling,
) -> Record:
    """The tier's answer.

    Raises:
        RefusedError: if the server answers with an error, or without a record.
        OSError, http.client.HTTPException: if the connection breaks or times out.
    """
    subject = f"question {question.id!r}, tier {tier.name}"
    started = time.monotonic()
    text, story = _asked(connection, question, sampling, {"x-cascadia-tier": tier.name}, subject)
    seconds = time.monotonic() - started
    record = (story.get("attempts") or [{}])[-1].get("record")
    if record is None or not record["tokens"]:
        raise RefusedError(f"{subject}: nothing was recorded")
    return Record(
        id=question.id,
        tier=tier.name,
        asked=digest_of(question, tier, sampling),
        text=text,
        tokens=record["tokens"],
        features=record["features"],
        seconds=seconds,
        prompt_ids=story.get("prompt_ids") if story["tier_index"] == 0 else None,
        hidden=None if record.get("hidden") is None else b64decode(record["hidden"]),
    )


def ask_drafts(
    connection: http.client.HTTPConnection,
    question: Question,
    tiers: Sequence[TierConfig],
    sampling: Sampling,
) -> list[DraftRecord]:
    """What every tier but the first makes of the answer of the tier before.

    The question goes through all tiers, for none has a score that would accept an answer.

    Raises:
        RefusedError: if the server answers with an error.
        OSError, http.client.HTTPException: if the connection breaks or times out.
    """
    _, story = _asked(connection, question, sampling, {}, f"question {question.id!r}, drafts")
    attempts = {attempt["tier"]: attempt for attempt in story.get("attempts") or []}
    records: list[DraftRecord] = []
    for index in range(1, len(tiers)):
        before, attempt = (attempts.get(tier.name, {}) for tier in tiers[index - 1 : index + 1])
        # A tier that read a draft did not write what it kept of it.
        written = before.get("tokens", 0) + before.get("kept", 0)
        is_read = "kept" in attempt and written > 0
        records.append(
            DraftRecord(
                id=question.id,
                tier=tiers[index].name,
                asked=draft_digest(question, tiers[: index + 1], sampling),
                kept=min(1.0, attempt["kept"] / written) if is_read else None,
                features=(attempt.get("record") or {}).get("draft") if is_read else None,
            )
        )
    return records


def _asked(
    connection: http.client.HTTPConnection,
    question: Question,
    sampling: Sampling,
    headers: Mapping[str, str],
    subject: str,
) -> tuple[str, dict[str, Any]]:
    """Text of the answer, and what the server says of how it came about."""
    path, body = request_of(question, sampling)
    connection.request(
        "POST", path, json.dumps(body), {"content-type": "application/json", **headers}
    )
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        message = " ".join(content[:300].decode(errors="replace").split())
        raise RefusedError(f"{subject}: {response.status} {message}")
    text, meta_info = _answer(msgspec.json.decode(content))
    return text, meta_info.get("cascadia", {})


def _answer(reply: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Text and meta information of a reply of either route."""
    if "choices" in reply:
        choice = reply["choices"][0]
        return message_text(choice["message"]), choice.get("meta_info") or {}
    return reply["text"], reply["meta_info"]


def message_text(message: Mapping[str, Any]) -> str:
    """Content of an answer, and below it every call of a tool as one line of JSON.

    Arguments are written in one way, so that equal calls are equal texts.
    """
    lines = [message["content"]] if message.get("content") else []
    for call in message.get("tool_calls") or []:
        function = call["function"]
        line = {"name": function["name"], "arguments": _arguments(function["arguments"])}
        lines.append(json.dumps(line, sort_keys=True, ensure_ascii=False))
    return "\n".join(lines)


def _arguments(text: str) -> Any:
    """Of a call; the text itself where the model wrote no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
