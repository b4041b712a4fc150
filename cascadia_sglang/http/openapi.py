"""Descriptions of the cascade's writing routes in the server's OpenAPI document."""

from typing import Any

import msgspec

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param"],
            "properties": {
                "message": {"type": "string"},
                "type": {"enum": ["invalid_request", "unavailable"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}
_REFUSALS = {
    400: "what is wrong with the request",
    401: "the admin key is missing or wrong",
    403: "the server has no admin key",
    409: "the running server does not allow it",
    503: "it cannot be done now",
}


def documented(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Keyword arguments of a route whose JSON body is of this kind."""
    return {
        "openapi_extra": request_body(kind),
        "responses": {
            status: {"description": reason, "content": {"application/json": {"schema": _ERROR}}}
            for status, reason in _REFUSALS.items()
        },
    }


def request_body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A route's part of the document that describes its JSON body."""
    _, components = msgspec.json.schema_components([kind], ref_template="{name}")
    content = {"application/json": {"schema": _whole(components[kind.__name__], components)}}
    return {"requestBody": {"required": True, "content": content}}


def _whole(schema: Any, components: dict[str, Any]) -> Any:
    """A schema with those that it refers to by name put in their place."""
    if isinstance(schema, list):
        return [_whole(item, components) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _whole(components[schema["$ref"]], components)
    return {key: _whole(value, components) for key, value in schema.items()}
