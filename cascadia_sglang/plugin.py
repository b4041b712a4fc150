"""Entry points that SGLang calls: the plugin, and the backend of `sglang serve`."""

from typing import Any

# Of the API that the backend was written for. SGLang refuses a backend of another version.
_SERVE_BACKEND_API_VERSION = 1


def register() -> None:
    """SGLang's general plugin: adds the cascade's flags. Nothing else happens without them."""
    from cascadia_patches.apply import register_patches
    from cascadia_patches.registry import ARGUMENT_PATCHES

    register_patches(ARGUMENT_PATCHES)


def serve_backend() -> Any:
    """Backend of `sglang serve` that needs no --model-path where --plugin cascadia is given."""
    from sglang.cli.serve_backends import (
        ServeBackend,
        ServeBackendDetection,
        ServeRequest,
    )

    def detect(request: ServeRequest) -> ServeBackendDetection:
        is_named = "--plugin=cascadia" in request.argv or any(
            pair == ("--plugin", "cascadia")
            for pair in zip(request.argv, request.argv[1:], strict=False)
        )
        return ServeBackendDetection.MATCH if is_named else ServeBackendDetection.NO_MATCH

    def run(request: ServeRequest) -> None:
        from sglang.launch_server import run_server
        from sglang.srt.server_args import prepare_server_args

        run_server(prepare_server_args(list(request.argv)))

    return ServeBackend(
        api_version=_SERVE_BACKEND_API_VERSION,
        run=run,
        detect=detect,
        requires_model_path=False,
    )
