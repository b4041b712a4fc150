"""Every route of SGLang's server, and how a cascade handles it."""

from dataclasses import dataclass
from enum import Enum


class Handling(Enum):
    """What becomes of a request."""

    CASCADE = "answered by the cascade"
    ONE_TIER = "answered by the tier that `model` or `tier` names, else by the last tier"
    CONTROL = "to all live workers, or to those of `tier`"
    TIER_CONTROL = "to all live workers of `tier`; without it 400"
    SERVER = "answered by the server process"
    REFUSED = "refused with 400"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Routes that are handled alike, and what else is to be said of them."""

    handling: Handling
    paths: tuple[str, ...]
    note: str = ""


TABLE: tuple[Routes, ...] = (
    Routes(
        handling=Handling.CASCADE,
        paths=(
            "/generate",
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1/messages",
            "/api/chat",
            "/api/generate",
            "/invocations",
            "/vertex_generate",
        ),
    ),
    Routes(
        handling=Handling.ONE_TIER,
        paths=(
            "/encode",
            "/classify",
            "/v1/embeddings",
            "/v1/classify",
            "/v1/score",
            "/v1/rerank",
            "/v1/decisions",
            "/v1/systemone",
        ),
        note="Routes that need another kind of model answer with SGLang's own 400",
    ),
    Routes(
        handling=Handling.CONTROL,
        paths=(
            "/flush_cache",
            "/server_info",
            "/get_server_info",
            "/set_internal_state",
            "/start_profile",
            "/stop_profile",
            "/freeze_gc",
            "/pause_generation",
            "/continue_generation",
            "/weights_checker",
            "/slow_down",
            "/configure_logging",
            "/v1/loads",
            "/hicache/storage-backend/clear",
            "/hicache/storage-backend",
            "/get_hicache_l3_cache_layout",
        ),
    ),
    Routes(
        handling=Handling.CONTROL,
        paths=("/release_memory_occupation", "/resume_memory_occupation"),
        note="400 without `--enable-memory-saver`. 400 too while requests run, and for memory that "
        "is released already or was not released",
    ),
    Routes(
        handling=Handling.CONTROL,
        paths=(
            "/start_expert_distribution_record",
            "/stop_expert_distribution_record",
            "/dump_expert_distribution_record",
        ),
        note="400 without `--expert-distribution-recorder-mode`",
    ),
    Routes(
        handling=Handling.CONTROL,
        paths=("/open_session", "/close_session"),
        note="A session lives in one worker of `tier`, or of the first tier. Requests with "
        "`session_params` go there",
    ),
    Routes(
        handling=Handling.CONTROL,
        paths=("/abort_request",),
        note="Ends the attempts of the caller's rid on every tier. It does not escalate",
    ),
    Routes(
        handling=Handling.TIER_CONTROL,
        paths=(
            "/update_weights_from_disk",
            "/update_weights_from_tensor",
            "/update_weights_from_distributed",
            "/update_weights_from_ipc",
            "/update_weight_version",
            "/begin_weight_update",
            "/end_weight_update",
            "/init_weights_update_group",
            "/destroy_weights_update_group",
            "/init_weights_send_group_for_remote_instance",
            "/send_weights_to_remote_instance",
            "/get_weights_by_name",
            "/load_lora_adapter",
            "/load_lora_adapter_from_tensors",
            "/unload_lora_adapter",
        ),
        note="A worker that starts later has the weights and adapters of its start",
    ),
    Routes(
        handling=Handling.SERVER,
        paths=(
            "/ready",
            "/get_model_info",
            "/model_info",
            "/v1/models",
            "/v1/models/{model:path}",
            "/set_trace_level",
            "/parse_function_call",
            "/separate_reasoning",
            "/tokenize",
            "/v1/tokenize",
            "/detokenize",
            "/v1/detokenize",
            "/v1/messages/count_tokens",
            "/v1/responses/{response_id}",
            "/v1/responses/{response_id}/cancel",
            "/api/tags",
            "/api/show",
            "/ping",
            "/",
            "/openapi.json",
            "/docs",
            "/docs/oauth2-redirect",
            "/redoc",
            "/metrics",
        ),
    ),
    Routes(
        handling=Handling.SERVER,
        paths=("/health", "/health_generate"),
        note="Healthy while any worker answers a request for one token",
    ),
    Routes(
        handling=Handling.SERVER,
        paths=(
            "/get_remote_instance_transfer_engine_info",
            "/remote_instance_transfer_engine_info",
            "/is_scaling_elastic_ep",
        ),
        note="SGLang's own answer, which says nothing of the workers",
    ),
    Routes(
        handling=Handling.REFUSED,
        paths=("/v1/audio/transcriptions", "/v1/realtime"),
        note="the tiers of a cascade take text",
    ),
    Routes(
        handling=Handling.REFUSED,
        paths=(
            "/add_external_corpus",
            "/remove_external_corpus",
            "/list_external_corpora",
            "/pd_role_switch",
            "/scale_elastic_ep",
        ),
        note="belongs to a mode that a cascade is not served in",
    ),
)

HANDLING = {path: routes.handling for routes in TABLE for path in routes.paths}
NOTES = {path: routes.note for routes in TABLE for path in routes.paths}

# The flag without which SGLang's scheduler does not survive a call, by field name.
_MEMORY, _EXPERTS = "enable_memory_saver", "expert_distribution_recorder_mode"
NEEDED_FLAGS = {
    "/release_memory_occupation": _MEMORY,
    "/resume_memory_occupation": _MEMORY,
    "/start_expert_distribution_record": _EXPERTS,
    "/stop_expert_distribution_record": _EXPERTS,
    "/dump_expert_distribution_record": _EXPERTS,
}

# Paths whose requests are looked at before their route runs. Those of the cascade pass untouched.
GUARDED = frozenset(
    path
    for path, handling in HANDLING.items()
    if handling not in (Handling.CASCADE, Handling.SERVER)
)
