"""OpenAI's `prediction`: what the client expects the answer to be, as a draft for the first tier.

SGLang's own request has no such field, so it is read from the body.
"""

import json
from typing import Any

import fastapi

from cascadia_sglang.errors import RequestError

FIELD = "prediction"
# Of a prediction: more is no draft that a tier would use, and it is tokenised between two requests.
MOST_CHARACTERS = 1 << 16
ALLOWED = '{"type": "content", "content": text or a list of {"type": "text", "text": text}}'


def predicted_text(raw_request: fastapi.Request) -> str | None:
    """The beginning of the text that a chat request predicts; None without a prediction.

    Raises:
        RequestError: 400 for a prediction of another form.
    """
    # FastAPI has read the body before it calls a handler.
    body: bytes = getattr(raw_request, "_body", b"")
    if f'"{FIELD}"'.encode() not in body:
        return None
    fields: Any = json.loads(body)
    prediction = fields.get(FIELD) if isinstance(fields, dict) else None
    if prediction is None:
        return None
    text = None
    if isinstance(prediction, dict) and prediction.get("type") == "content":
        text = _text_of(prediction.get("content"))
    if text is None:
        shown = json.dumps(prediction)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise RequestError(400, f"{FIELD} is {shown}, allowed: {ALLOWED}", FIELD)
    return text[:MOST_CHARACTERS]


def _text_of(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "".join(texts)
