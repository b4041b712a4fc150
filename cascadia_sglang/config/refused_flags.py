"""SGLang flags that a cascade is not served with, and why."""

import difflib
from collections.abc import Mapping, Set
from typing import Any, NamedTuple, Protocol

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError


class RefusedFlag(NamedTuple):
    """An SGLang flag that a cascade cannot be served with, by field name.

    `in_tiers` says that a tier's own `server_args` may have it, where the cascade file allows it.
    """

    flag: str
    allowed: Any
    reason: str
    in_tiers: bool = False


_BYPASS = "gRPC bypasses the router"
_ONE_HOST = "other machines are named by `cluster`, which gives each its workers"
_OWN_PORTS = "every worker takes a free port of its own; two cannot share one"
_NO_ENCODER = "encoder disaggregation has no tier to answer"
_NO_LOGITS = "it does not show the judge the logits that a token is chosen from"

REFUSED_FLAGS: tuple[RefusedFlag, ...] = (
    RefusedFlag("dp_size", 1, "a tier scales by `replicas`, not by data parallelism in a worker"),
    RefusedFlag("tokenizer_worker_num", 1, "the router lives in the one tokenizer process"),
    RefusedFlag("detokenizer_worker_num", 1, "every tokenizer has one detokenizer"),
    RefusedFlag("grpc_mode", False, _BYPASS),
    RefusedFlag("smg_grpc_mode", False, _BYPASS),
    RefusedFlag("grpc_port", None, _BYPASS),
    RefusedFlag("use_ray", False, _ONE_HOST),
    RefusedFlag("disaggregation_mode", "null", "prefill and decode of a tier run in one worker"),
    RefusedFlag("encoder_only", False, _NO_ENCODER),
    RefusedFlag("language_only", False, _NO_ENCODER),
    RefusedFlag("skip_tokenizer_init", False, "the cascade needs the tokenizers of its tiers"),
    RefusedFlag("is_embedding", False, "an embedding has no answer to be judged"),
    RefusedFlag("nnodes", 1, _ONE_HOST),
    RefusedFlag("nccl_port", None, _OWN_PORTS),
    RefusedFlag("dist_init_addr", None, _OWN_PORTS),
    RefusedFlag("kv_events_config", None, "every worker publishes its own events, see `prefix`"),
    RefusedFlag("dllm_algorithm", None, _NO_LOGITS),
    RefusedFlag(
        "rl_on_policy_target",
        None,
        "the judge would read logits where it expects the probabilities that a token is drawn from",
    ),
    RefusedFlag(
        "speculative_algorithm",
        None,
        "a tier has its own, in its server_args",
        in_tiers=True,
    ),
)


class FlagType(Protocol):
    """What a flag of SGLang may be."""

    def allowed_instead(self, value: Any) -> str | None:
        """What may stand in place of a value; None where the value may stand."""


def check_tier_flags(config: CascadeConfig, flags: Mapping[str, FlagType]) -> None:
    """Check the SGLang flags of every tier's `server_args`.

    Args:
        flags: all SGLang flags by name.

    Raises:
        ConfigError: for a flag that SGLang does not know, with the nearest one that it does; for a
            refused flag; for a value of another type. Names the place.
    """
    refused = {flag.flag: flag for flag in REFUSED_FLAGS if not flag.in_tiers}
    for index, tier in enumerate(config.tiers):
        for flag, value in tier.server_args.items():
            key_path = f"tiers[{index}].server_args.{flag}"
            if flag not in flags:
                raise ConfigError(f"{key_path} is no SGLang flag{_nearest(flag, flags.keys())}")
            if flag in refused and value not in (None, refused[flag].allowed):
                raise ConfigError(f"{key_path} is {value!r}: {refused[flag].reason}")
            allowed = flags[flag].allowed_instead(value)
            if allowed is not None:
                raise ConfigError(f"{key_path} is {value!r}, allowed: {allowed}")


def _nearest(flag: str, flags: Set[str]) -> str:
    plain = flag.lstrip("-").replace("-", "_").lower()
    if plain in flags:
        return f", did you mean {plain}?"
    begun = sorted(name for name in flags if name.startswith(f"{plain}_"))
    near = begun[:1] or difflib.get_close_matches(plain, sorted(flags), n=1)
    return f", did you mean {near[0]}?" if near else ""
