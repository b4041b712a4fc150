"""Asks a recording server one question, pinned to a tier."""

import http.client
import json
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from cascadia_sglang.calibration.records import Record
from cascadia_sglang.calibration.sample import Question
from cascadia_sglang.config import TierConfig
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are written, where a tier's own `sampling` does not say otherwise."""

    temperature: float
    max_tokens: int


class RefusedError(CalibrationError):
    """A question that the server answered with an error; the next one may fare better."""


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
    path, body = request_of(question, sampling)
    headers = {"content-type": "application/json", "x-cascadia-tier": tier.name}
    started = time.monotonic()
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    content = response.read()
    seconds = time.monotonic() - started
    if response.status != 200:
        said = " ".join(content[:300].decode(errors="replace").split())
        raise RefusedError(f"question {question.id!r}, tier {tier.name}: {response.status} {said}")
    text, meta_info = _answer(msgspec.json.decode(content))
    story = meta_info.get("cascadia", {})
    record = (story.get("attempts") or [{}])[-1].get("record")
    if record is None or not record["tokens"]:
        raise RefusedError(f"question {question.id!r}, tier {tier.name}: nothing was recorded")
    return Record(
        id=question.id,
        tier=tier.name,
        asked=digest_of(question, tier, sampling),
        text=text,
        tokens=record["tokens"],
        features=record["features"],
        seconds=seconds,
        prompt_ids=story.get("prompt_ids") if story["tier_index"] == 0 else None,
    )


def _answer(reply: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Text and meta information of a reply of either route."""
    if "choices" in reply:
        choice = reply["choices"][0]
        return choice["message"]["content"] or "", choice.get("meta_info") or {}
    return reply["text"], reply["meta_info"]
