"""AROUND hook on OllamaServing.handle_generate: note the model's name.

Upstream: answers with the server's one model, whatever the request names.
We need: the tier that `model` pins; a name that is neither a tier nor the cascade is a 404.
"""

from cascadia_patches.registry import PatchSpec
from cascadia_sglang.http.trace import noting_model

PATCH = PatchSpec(
    target="sglang.srt.entrypoints.ollama.serving.OllamaServing.handle_generate",
    hook_type="around",
    kind="async function",
    parameters=("request", "raw_request"),
    build=noting_model,
    reason="the model's name is lost in the engine's own request",
    drop_when="SGLang keeps the model's name on its requests",
)
