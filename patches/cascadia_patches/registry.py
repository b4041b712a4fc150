"""Patches as data: what Cascadia changes in SGLang, why, until when, and the proof that it took.

Each patch is one module that holds one `PATCH`. A patch builds its hook around the object it
serves (the cascade server in the main process, the judge in a worker), so hooks need no globals.
SGLang logs and swallows whatever goes wrong while hooks are applied, so every patch is verified
afterwards: the target exists, is of the recorded kind, still takes the recorded parameters, and
the function found there calls our hook.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cascadia_sglang.errors import PatchError

Kind = Literal["function", "async function", "async generator", "classmethod", "staticmethod"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSpec:
    """One hook on one SGLang function.

    Attributes:
        target: dotted path of the function.
        hook_type: before, after or around, as SGLang's hook registry defines them.
        kind: what the target is in the recorded release.
        parameters: names the target takes, in order, `self` and `cls` left out.
        build: takes the object the hook serves, returns the hook.
        reason: why the change is needed.
        drop_when: the event that makes it unnecessary.
    """

    target: str
    hook_type: Literal["before", "after", "around"]
    kind: Kind
    parameters: tuple[str, ...]
    build: Callable[[Any], Callable[..., Any]]
    reason: str
    drop_when: str


# Flags of the command line. The only patches of a process that serves no cascade.
ARGUMENT_PATCHES = ("add_cli_args", "from_cli_args")

# Of the main process of a cascade, in the order in which a start meets them.
SERVER_PATCHES = (
    "set_envs_and_config",
    "launch_scheduler_processes",
    "launch_detokenizer",
    "init_ipc_channels",
    "run_http_server",
    "wait_and_warmup",
    "convert_chat_request",
    "convert_completion_request",
    "create_responses",
    "convert_anthropic_request",
    "anthropic_error_response",
    "mistral_parse_increment",
    "internlm_parse_increment",
    "generate_request",
    "validate_one_request",
    "dispatch_to_scheduler",
    "async_dispatch_to_scheduler",
    "abort_request",
    "communicator_call",
    "communicator_handle_recv",
    "wait_for_model_update",
    "handle_update_weights_output",
    "get_loads",
    "update_request_meta_info",
    "sigterm_watchdog",
)

# Of every engine worker.
WORKER_PATCHES = (
    "watchdog_once",
    "check_str_based_finish",
    "fill_vocab_mask",
    "update_finish_state",
)

# Of an engine worker and of the detokenizer: where its log goes.
LOG_PATCHES = ("configure_logger",)

# Of a worker's first rank: how far its start has come.
PROGRESS_PATCHES = ("get_all_weights",)

# Of every engine worker: how much of a host's memory is there for it.
MEMORY_PATCHES = ("free_cpu_memory",)

# Of the main process and of an engine worker, where workers share devices.
CAPACITY_PATCHES = ("device_memory_capacity",)

# Of an engine worker that shares its devices.
SHARE_PATCHES = ("available_device_memory",)

# Of an engine worker that judges.
JUDGE_PATCHES = ("model_runner_init",)

# Of an engine worker that reads drafts.
DRAFT_PATCHES = (
    "add_request_to_queue",
    "compute_max_prefix_len",
    "model_runner_forward",
    "logits_processor_forward",
    "relay_forward_payload",
    "launch_batch_sample_if_needed",
)

# Of an engine worker that says more of a request than its answer.
REPORT_PATCHES = ("output_streamer_class",)

# Of an engine worker that judges by a calibration with a probe.
PROBE_PATCHES = ("sample",)

# Of an engine worker that publishes what its prefix cache holds.
EVENT_PATCHES = ("get_hash_str",)

# Of an engine worker on an emulated device.
PACE_PATCHES = ("forward_batch_generation",)

# Of an engine worker whose steps `cascadia profile` measures.
STEP_LOG_PATCHES = ("run_batch", "process_batch_result")

ALL_PATCHES = (
    *ARGUMENT_PATCHES,
    *SERVER_PATCHES,
    *WORKER_PATCHES,
    *LOG_PATCHES,
    *PROGRESS_PATCHES,
    *MEMORY_PATCHES,
    *CAPACITY_PATCHES,
    *SHARE_PATCHES,
    *JUDGE_PATCHES,
    *DRAFT_PATCHES,
    *REPORT_PATCHES,
    *PROBE_PATCHES,
    *EVENT_PATCHES,
    *PACE_PATCHES,
    *STEP_LOG_PATCHES,
)


def load_patch(name: str) -> PatchSpec:
    """The patch of one module of this package."""
    patch: PatchSpec = importlib.import_module(f"cascadia_patches.{name}").PATCH
    return patch


def register_patches(names: Sequence[str], served: Any = None) -> None:
    """Register patches with SGLang's hook registry, which applies them when it is next asked to.

    A second call with the same names does nothing: SGLang may load plugins more than once.
    """
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    for patch in map(load_patch, names):
        if patch.target in HookRegistry._hooks and any(
            _is_ours(hook) for _, hook, _ in HookRegistry._hooks[patch.target]
        ):
            continue
        hook = patch.build(served)
        hook.__cascadia_patch__ = patch.target  # type: ignore[attr-defined]
        HookRegistry.register(patch.target, hook, HookType(patch.hook_type))


def apply_patches(names: Sequence[str], served: Any = None) -> None:
    """Register, apply and verify.

    Raises:
        PatchError: if one of them did not take; nothing may be served then.
    """
    from sglang.srt.plugins.hook_registry import HookRegistry

    register_patches(names, served)
    HookRegistry.apply_hooks()
    verify_patches(names)


def verify_patches(names: Sequence[str]) -> None:
    """Check that each patch is in force.

    Raises:
        PatchError: one line that names the target and what differs.
    """
    for patch in map(load_patch, names):
        found = _find(patch.target)
        if not any(_calls_ours(function) for function in _wrapped_chain(found)):
            raise PatchError(f"the patch of {patch.target} did not take")
        original = list(_wrapped_chain(found))[-1]
        kind = function_kind(original, found)
        if kind != patch.kind:
            raise PatchError(f"{patch.target} is a {kind} in this SGLang, needed: {patch.kind}")
        missing = set(patch.parameters) - set(inspect.signature(original).parameters)
        if missing:
            raise PatchError(f"{patch.target} no longer takes {', '.join(sorted(missing))}")


def function_kind(function: Any, found: Any) -> Kind:
    """Kind of a target: `found` as its owner holds it, `function` the plain function within."""
    if isinstance(found, classmethod):
        return "classmethod"
    if isinstance(found, staticmethod):
        return "staticmethod"
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.iscoroutinefunction(function):
        return "async function"
    return "function"


def _find(target: str) -> Any:
    """The target as its owner's dict holds it, so that class and static methods show."""
    owner_path, _, name = target.rpartition(".")
    try:
        owner = pkgutil.resolve_name(owner_path)
        return vars(owner)[name]
    except (ImportError, AttributeError, KeyError) as error:
        raise PatchError(f"{target} does not exist in this SGLang") from error


def _wrapped_chain(found: Any) -> Iterator[Callable[..., Any]]:
    """The function and what it wraps, outermost first."""
    function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _calls_ours(function: Callable[..., Any]) -> bool:
    cells = getattr(function, "__closure__", None) or ()
    return any(_is_ours(cell.cell_contents) for cell in cells)


def _is_ours(hook: Any) -> bool:
    return hasattr(hook, "__cascadia_patch__")
