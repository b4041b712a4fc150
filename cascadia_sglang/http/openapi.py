"""What the cascade's own writing routes say of themselves in the server's OpenAPI document."""

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
    503: "it cannot be done now",
}


def documented(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Keyword arguments of a route whose JSON body is of this kind."""
    _, components = msgspec.json.schema_components([kind], ref_template="")
    content = {"application/json": {"schema": components[kind.__name__]}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {
            status: {"description": reason, "content": {"application/json": {"schema": _ERROR}}}
            for status, reason in _REFUSALS.items()
        },
    }
