"""SGLang flags that a cascade is not served with, and why."""

from typing import Any, NamedTuple


class RefusedFlag(NamedTuple):
    """An SGLang flag that a cascade cannot be served with, by field name.

    `in_tiers` says that a tier's own `server_args` may have it, where the cascade file allows it.
    """

    flag: str
    allowed: Any
    reason: str
    in_tiers: bool = False


_BYPASS = "gRPC bypasses the router"
_ONE_HOST = "workers are started in this host"
_NO_ENCODER = "encoder disaggregation has no tier to answer"
_NO_LOGITS = "it does not show the judge the logits that a token is chosen from"

REFUSED_FLAGS: tuple[RefusedFlag, ...] = (
    RefusedFlag("dp_size", 1, "a tier scales by `replicas`, not by data parallelism in a worker"),
    RefusedFlag("tokenizer_worker_num", 1, "the router lives in the one tokenizer process"),
    RefusedFlag("detokenizer_worker_num", 1, "all tiers share the one detokenizer"),
    RefusedFlag("grpc_mode", False, _BYPASS),
    RefusedFlag("smg_grpc_mode", False, _BYPASS),
    RefusedFlag("grpc_port", None, _BYPASS),
    RefusedFlag("use_ray", False, _ONE_HOST),
    RefusedFlag("disaggregation_mode", "null", "prefill and decode of a tier run in one worker"),
    RefusedFlag("encoder_only", False, _NO_ENCODER),
    RefusedFlag("language_only", False, _NO_ENCODER),
    RefusedFlag("skip_tokenizer_init", False, "the cascade needs the tokenizer its tiers share"),
    RefusedFlag("is_embedding", False, "an embedding has no answer to be judged"),
    RefusedFlag("nnodes", 1, _ONE_HOST),
    RefusedFlag("kv_events_config", None, "every worker publishes its own events, see `prefix`"),
    RefusedFlag("dllm_algorithm", None, _NO_LOGITS),
    RefusedFlag(
        "speculative_algorithm",
        None,
        f"{_NO_LOGITS}; a tier without a judge may have it in its server_args",
        in_tiers=True,
    ),
)
