"""SGLang's resolution of a worker's arguments: added values, checks, one-line errors.

The fields of `ServerArgs` stay as they were given; what SGLang decides lies over them.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sglang.srt.arg_groups.model_override_base import resolved_view
from sglang.srt.arg_groups.overrides import declare_resolution
from sglang.srt.environ import envs
from sglang.srt.parser.template_detection import resolve_auto_parsers
from sglang.srt.server_args import ServerArgs

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.messages import EventSource

# What SGLang sets for the first tier's arguments alone, before the workers of all tiers start.
_NCCL_VARIABLES = ("NCCL_CUMEM_ENABLE", "NCCL_NVLS_ENABLE", "NCCL_GRAPH_MIXING_SUPPORT")


@contextmanager
def one_line_errors(tier: str) -> Iterator[None]:
    """Turn what SGLang raises of a tier's flags or model into one line with the tier's name.

    Raises:
        WorkerError: the first line of what SGLang says.
    """
    try:
        yield
    # EOFError: the fork server ended while it forked.
    except (ValueError, OSError, RuntimeError, AssertionError, EOFError) as error:
        first_line = str(error).strip().split("\n")[0] or type(error).__name__
        raise WorkerError(f"tier {tier} cannot be started: {first_line}") from error


def resolve(server_args: ServerArgs) -> None:
    """Resolve arguments as SGLang resolves those of a server, with the parsers of the model."""
    server_args.resolve_once()
    server_args.check_server_args()
    resolve_auto_parsers(server_args)


def page_tokens(server_args: ServerArgs) -> int:
    """Tokens of a page of the KV pool; some attention backends have pages of their own size."""
    tokens: int | None = resolved_view(server_args).page_size
    return tokens or 1


def publish_events(server_args: ServerArgs, events: EventSource) -> None:
    """Have a worker publish what its prefix cache holds."""
    published = {
        "publisher": "zmq",
        "endpoint": events.endpoint,
        "replay_endpoint": events.replay_endpoint,
        "bind": True,
    }
    declare_resolution(server_args, "cascadia", kv_events_config=json.dumps(published))


def given_nccl_variables() -> dict[str, str]:
    """NCCL variables that the operator has set; to be asked before SGLang sets its own."""
    return {name: os.environ[name] for name in _NCCL_VARIABLES if name in os.environ}


def nccl_variables(server_args: ServerArgs, given: Mapping[str, str]) -> dict[str, str]:
    """NCCL variables of a worker, as `engine._set_envs_and_config` sets them for its arguments.

    Args:
        given: what the operator has set.
    """
    view: Any = resolved_view(server_args)
    is_symmetric = bool(view.enable_symm_mem)
    has_multicast = is_symmetric or bool(view.enable_nccl_nvls)
    cumem, nvls, mixing = _NCCL_VARIABLES
    variables = dict(given)
    if is_symmetric or cumem not in given:
        variables[cumem] = str(int(is_symmetric or _gathers_kv_shards(view)))
    if has_multicast or nvls not in given:
        variables[nvls] = str(int(has_multicast))
    if is_symmetric or mixing not in given:
        # Unset for SGLang where it is not 0. Another tier may have set it: 1 is NCCL's default.
        variables[mixing] = "0" if view.dcp_size > 1 else given.get(mixing, "1")
    return variables


def _gathers_kv_shards(view: Any) -> bool:
    """Whether SGLang gathers the shards of a KV cache through symmetric memory."""
    return (
        bool(view.enable_kv_cache_sharding)
        and envs.SGLANG_ENABLE_KV_SHARD_ZERO_SM_GATHER.get()
        and not view.enable_memory_saver
        and envs.SGLANG_MOONCAKE_CUSTOM_MEM_POOL.get() is None
    )
