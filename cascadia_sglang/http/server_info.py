"""`GET /server_info` without the keys of the server.

SGLang answers with every flag, and with the command line. Whoever may ask would learn the admin key
of a server that has no other key.
"""

import shlex
from typing import Any

import fastapi
from sglang.srt.entrypoints import http_server

REDACTED = "<redacted>"
_SECRET_FIELDS = frozenset({"api_key", "admin_api_key", "ssl_keyfile_password"})
_COMMAND = "launch_command"


def server_info_routes(server_args: Any) -> fastapi.APIRouter:
    """The routes, in place of SGLang's."""
    router = fastapi.APIRouter()
    values = (getattr(server_args, field, None) for field in _SECRET_FIELDS)
    secrets = frozenset(value for value in values if value)

    async def server_info() -> Any:
        return without_secrets(await http_server.server_info(), secrets)

    for path in ("/server_info", "/get_server_info"):
        router.get(path)(server_info)
    return router


def without_secrets(value: Any, secrets: frozenset[str]) -> Any:
    """A copy of JSON data in which `REDACTED` stands for the secrets.

    Args:
        secrets: that a command line may hold, whatever the flag before them is.
    """
    if isinstance(value, dict):
        return {key: _field(key, inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner, secrets) for inner in value]
    return value


def _field(key: str, value: Any, secrets: frozenset[str]) -> Any:
    if key in _SECRET_FIELDS:
        return REDACTED if value else value
    if key == _COMMAND and isinstance(value, str):
        return _command(value, secrets)
    return without_secrets(value, secrets)


def _command(line: str, secrets: frozenset[str]) -> str:
    """A command line as a shell reads it; all of it is left out where no shell could."""
    try:
        words = shlex.split(line)
    except ValueError:
        return REDACTED
    return shlex.join(_word(word, secrets) for word in words)


def _word(word: str, secrets: frozenset[str]) -> str:
    flag, equals, value = word.partition("=")
    if word in secrets:
        return REDACTED
    return f"{flag}={REDACTED}" if equals and value in secrets else word
