"""Which SGLang flags a cascade takes, and how tiers share workers."""

import argparse
import json
import pickle
import socket
from typing import Any

import msgspec
import pytest
from sglang.srt.arg_groups.model_override_base import resolved_view
from sglang.srt.platforms.interface import SRTPlatform
from sglang.srt.server_args import ServerArgs

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.refused_flags import REFUSED_FLAGS, RefusedFlag, check_tier_flags
from cascadia_sglang.config.settings import CascadeConfig, PrefixConfig, TierConfig
from cascadia_sglang.errors import ConfigError, WorkerError
from cascadia_sglang.launch.arguments import TierArguments, check_arguments
from cascadia_sglang.launch.flag_table import flag_table
from cascadia_sglang.launch.resolution import publish_events
from cascadia_sglang.messages import EventSource
from cascadia_sglang.platform import NativeCpuPlatform
from cascadia_sglang.testing.engine import make_cascade

FIELDS = {field.name for field in msgspec.structs.fields(ServerArgs)}

# A value that each refused flag must not have.
OTHER: dict[str, Any] = {
    "dp_size": 2,
    "tokenizer_worker_num": 2,
    "detokenizer_worker_num": 2,
    "grpc_mode": True,
    "smg_grpc_mode": True,
    "grpc_port": 5000,
    "use_ray": True,
    "disaggregation_mode": "prefill",
    "encoder_only": True,
    "language_only": True,
    "skip_tokenizer_init": True,
    "is_embedding": True,
    "nnodes": 2,
    "dllm_algorithm": "LowConfidence",
    "speculative_algorithm": "EAGLE",
    "kv_events_config": "{}",
    "nccl_port": 5000,
    "dist_init_addr": "127.0.0.1:5000",
    "rl_on_policy_target": "fsdp",
}

flags = pytest.mark.parametrize("refused", REFUSED_FLAGS, ids=lambda refused: refused.flag)


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    """SGLang's own command line."""
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    return parser


@pytest.fixture
def namespace(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What SGLang's flags are where the operator gives none."""
    return parser.parse_args(["--model-path", "x", "--port", str(free_port())])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cascade_with(**server_args: Any) -> CascadeConfig:
    """Two tiers, the second with flags of its own."""
    config = make_cascade("small", "large")
    large = msgspec.structs.replace(config.tiers[1], server_args=server_args)
    return msgspec.structs.replace(config, tiers=[config.tiers[0], large])


def test_every_refused_flag_has_a_value_to_be_refused_here() -> None:
    assert OTHER.keys() == {refused.flag for refused in REFUSED_FLAGS}


@flags
def test_a_refused_flag_is_a_field_of_sglangs_and_allowed_as_it_is_by_default(
    refused: RefusedFlag, namespace: argparse.Namespace
) -> None:
    assert refused.flag in FIELDS
    assert getattr(namespace, refused.flag) == refused.allowed
    check_arguments(namespace, make_cascade("small", "large"))


@flags
def test_a_refused_flag_of_the_command_line_is_refused_with_the_reason(
    refused: RefusedFlag, namespace: argparse.Namespace
) -> None:
    setattr(namespace, refused.flag, OTHER[refused.flag])
    with pytest.raises(ConfigError) as raised:
        check_arguments(namespace, make_cascade("small", "large"))
    shown = "--" + refused.flag.replace("_", "-")
    expected = f"{shown} is {OTHER[refused.flag]!r}: {refused.reason}"
    assert str(raised.value) == expected


@flags
def test_a_refused_flag_of_a_tier_is_refused_with_its_place_unless_tiers_may_have_it(
    refused: RefusedFlag, namespace: argparse.Namespace
) -> None:
    config = cascade_with(**{refused.flag: OTHER[refused.flag]})
    if refused.in_tiers:
        check_arguments(namespace, config)
        return
    with pytest.raises(ConfigError) as raised:
        check_arguments(namespace, config)
    assert str(raised.value).startswith(f"tiers[1].server_args.{refused.flag} is ")
    assert refused.reason in str(raised.value)


def judged_speculation() -> CascadeConfig:
    """A first tier that is judged and decodes by NGRAM."""
    config = make_cascade("small", "large")
    flags = {"speculative_algorithm": "NGRAM"}
    first = msgspec.structs.replace(config.tiers[0], server_args=flags)
    return msgspec.structs.replace(config, tiers=[first, config.tiers[1]])


@pytest.mark.parametrize(
    ("flag", "value"), [("pp_size", 2), ("speculative_accept_threshold_single", 0.5)]
)
def test_flags_of_the_command_line_that_a_judge_cannot_have_beside_speculation_are_refused(
    flag: str, value: float, namespace: argparse.Namespace
) -> None:
    check_arguments(namespace, judged_speculation())
    setattr(namespace, flag, value)
    with pytest.raises(ConfigError, match=rf"tiers\[0\] decodes by NGRAM: {flag} is {value}"):
        check_arguments(namespace, judged_speculation())
    check_arguments(namespace, make_cascade("small", "large"))


def test_ngram_on_a_host_is_refused_where_sglang_asks_no_platform_for_it(
    namespace: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = "cascadia_sglang.launch.arguments.current_platform"
    monkeypatch.setattr(platform, NativeCpuPlatform())
    check_arguments(namespace, judged_speculation())
    monkeypatch.delattr(SRTPlatform, "get_speculative_worker_cls")
    with pytest.raises(ConfigError, match=r"tiers\[0\] decodes by NGRAM: without an accelerator"):
        check_arguments(namespace, judged_speculation())
    check_arguments(namespace, make_cascade("small", "large"))
    monkeypatch.setattr(platform, SRTPlatform())
    check_arguments(namespace, judged_speculation())


def test_simulated_speculation_is_refused_beside_a_judge(
    namespace: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGLANG_SIMULATE_ACC_LEN", "3")
    check_arguments(namespace, make_cascade("small", "large"))
    with pytest.raises(ConfigError, match="SGLANG_SIMULATE_ACC_LEN is set"):
        check_arguments(namespace, judged_speculation())


def test_a_tiers_flag_that_sglang_does_not_know_is_refused_with_its_place(
    namespace: argparse.Namespace,
) -> None:
    with pytest.raises(ConfigError, match=r"tiers\[1\].server_args.tp is no SGLang flag"):
        check_arguments(namespace, cascade_with(tp=2))


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("tp", "tp_size"),
        ("max-total-tokens", "max_total_tokens"),
        ("--max-total-tokens", "max_total_tokens"),
        ("max_totl_tokens", "max_total_tokens"),
        ("Dtype", "dtype"),
    ],
)
def test_the_nearest_flag_is_suggested(flag: str, meant: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_tier_flags(cascade_with(**{flag: 1}), flag_table())
    key_path = f"tiers[1].server_args.{flag}"
    assert str(raised.value) == f"{key_path} is no SGLang flag, did you mean {meant}?"
    with pytest.raises(ConfigError, match=r"xyzzy is no SGLang flag$"):
        check_tier_flags(cascade_with(xyzzy=1), flag_table())


def test_a_tiers_flag_that_sglang_knows_is_taken(namespace: argparse.Namespace) -> None:
    check_arguments(namespace, cascade_with(tp_size=2, max_total_tokens=100))


def test_a_port_in_use_is_refused_with_its_number(namespace: argparse.Namespace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        namespace.port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {namespace.port} on 127.0.0.1"):
            check_arguments(namespace, make_cascade("small", "large"))


@pytest.mark.parametrize(("value", "is_refused"), [("1", True), ("true", True), ("0", False)])
def test_the_rust_server_is_refused(
    namespace: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, value: str, is_refused: bool
) -> None:
    monkeypatch.setenv("SGLANG_RUST_SERVER", value)
    if not is_refused:
        check_arguments(namespace, make_cascade("small", "large"))
        return
    with pytest.raises(ConfigError, match="SGLANG_RUST_SERVER"):
        check_arguments(namespace, make_cascade("small", "large"))


@pytest.mark.parametrize(("step", "is_refused"), [(1, False), (2, True)])
def test_pipeline_stages_are_refused_on_every_second_device(
    namespace: argparse.Namespace, step: int, is_refused: bool
) -> None:
    """SGLang's rank r of stage s has the device base + s * tp_size + r * step."""
    namespace.gpu_id_step = step
    config = cascade_with(pp_size=2)
    arguments = TierArguments(namespace, config, lambda given: given)  # type: ignore[arg-type]
    replica = msgspec.structs.replace(replica_at(0, tp_size=2), pp_size=2)
    spec = pool_specs(make_cascade("small"))[0]
    if not is_refused:
        check_arguments(namespace, config)
        arguments.for_worker(spec, "w-0", None, replica, on_host=False)
        return
    says = r"--gpu-id-step is 2, allowed: 1 where pp_size is above 1"
    with pytest.raises(ConfigError, match=rf"tiers\[1\] has 2 pipeline stages: {says}"):
        check_arguments(namespace, config)
    # A move may ask for stages too.
    with pytest.raises(WorkerError, match=rf"tier 'small': {says}"):
        arguments.for_worker(spec, "w-0", None, replica, on_host=False)


# Pools


def tier(name: str, model_path: str, replicas: int = 1, **server_args: Any) -> TierConfig:
    return TierConfig(name=name, model_path=model_path, replicas=replicas, server_args=server_args)


def pools_of(*tiers: TierConfig) -> list[tuple[str, tuple[int, ...], int]]:
    config = CascadeConfig(version=1, tiers=list(tiers))
    return [(spec.name, spec.tiers, spec.replicas) for spec in pool_specs(config)]


def test_tiers_of_the_same_model_and_flags_share_their_workers() -> None:
    pools = pools_of(
        tier("quick", "a", dtype="bfloat16", tp_size=1),
        tier("large", "b"),
        tier("careful", "a", replicas=3, tp_size=1, dtype="bfloat16"),
    )
    assert pools == [("quick+careful", (0, 2), 3), ("large", (1,), 1)]


@pytest.mark.parametrize(
    "other", [tier("two", "b"), tier("two", "a", tp_size=2)], ids=["model", "flags"]
)
def test_tiers_that_differ_in_model_or_flags_have_workers_of_their_own(other: TierConfig) -> None:
    assert [name for name, _, _ in pools_of(tier("one", "a"), other)] == ["one", "two"]


def replica_at(base: int, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool="any", gpu="cuda", tp_size=tp_size, node=0, base_gpu_id=base)


def test_a_workers_arguments_are_the_command_lines_with_the_tiers_over_them() -> None:
    config = CascadeConfig(
        version=1, tiers=[tier("small", "a"), tier("large", "b", context_length=512)]
    )
    values = {"served_model_name": None, "mem_fraction_static": None, "enable_metrics": False}
    values |= {"base_gpu_id": 2, "gpu_id_step": 2, "tp_size": 1, "pp_size": 1}
    given = argparse.Namespace(model_path=None, context_length=128, **values)
    arguments = TierArguments(given, config, lambda namespace: namespace)  # type: ignore[arg-type]
    small, large = (
        arguments.for_worker(spec, "w-0", 0.25, replica, on_host=False)
        for spec, replica in zip(
            pool_specs(config), (replica_at(1), replica_at(3, tp_size=2)), strict=True
        )
    )
    assert (small.model_path, small.context_length) == ("a", 128)
    assert (large.model_path, large.context_length) == ("b", 512)
    # Devices are counted from the operator's first one on, in the operator's steps.
    assert (small.base_gpu_id, small.gpu_id_step, small.tp_size) == (4, 2, 1)
    assert (large.base_gpu_id, large.gpu_id_step, large.tp_size) == (8, 2, 2)
    assert large.mem_fraction_static == 0.25
    assert given == argparse.Namespace(model_path=None, context_length=128, **values)


def test_a_memory_share_of_the_operator_wins() -> None:
    config = make_cascade("only")
    given = argparse.Namespace(
        served_model_name=None, mem_fraction_static=0.6, enable_metrics=False
    )
    arguments = TierArguments(given, config, lambda namespace: namespace)  # type: ignore[arg-type]
    worker = arguments.for_worker(pool_specs(config)[0], "w-0", 0.1, replica_at(0), on_host=True)
    assert worker.mem_fraction_static == 0.6


@pytest.mark.parametrize(("given_name", "served"), [(None, "cascadia"), ("mine", "mine")])
def test_the_server_is_called_cascadia_unless_the_operator_names_it(
    given_name: str | None, served: str
) -> None:
    config = make_cascade("small", "large")
    given = argparse.Namespace(served_model_name=given_name, enable_metrics=False)
    arguments = TierArguments(given, config, lambda namespace: namespace)  # type: ignore[arg-type]
    server = arguments.for_server()
    assert (server.served_model_name, server.model_path) == (served, "/models/small")


def test_the_main_process_counts_no_drafts() -> None:
    """SGLang would look for the counts in the outputs of tiers without speculation."""
    config = make_cascade("small", "large")
    given = argparse.Namespace(
        served_model_name=None,
        mem_fraction_static=None,
        enable_metrics=False,
        speculative_algorithm="EAGLE",
        speculative_draft_model_path="/models/drafter",
        speculative_use_block_verification=True,
    )
    arguments = TierArguments(given, config, lambda namespace: namespace)  # type: ignore[arg-type]
    server = arguments.for_server()
    assert (server.speculative_algorithm, server.speculative_draft_model_path) == (None, None)
    assert not server.speculative_use_block_verification
    worker = arguments.for_worker(
        pool_specs(config)[0], "small-0", None, replica_at(0), on_host=True
    )
    assert worker.speculative_algorithm == "EAGLE"
    assert worker.speculative_draft_model_path == "/models/drafter"


def test_metrics_of_workers_and_attempts_have_tier_and_worker_labels() -> None:
    config = make_cascade("small", "large")
    given = argparse.Namespace(
        served_model_name=None,
        mem_fraction_static=None,
        enable_metrics=True,
        extra_metric_labels={"site": "here"},
        tokenizer_metrics_allowed_custom_labels=None,
    )
    arguments = TierArguments(given, config, lambda namespace: namespace)  # type: ignore[arg-type]
    worker = arguments.for_worker(
        pool_specs(config)[1], "large-7", None, replica_at(0), on_host=True
    )
    labels = {"site": "here", "tier": "large", "worker": "large-7"}
    assert worker.extra_metric_labels == labels
    assert arguments.for_server().tokenizer_metrics_allowed_custom_labels == ["tier", "worker"]


@pytest.mark.parametrize(
    ("setting", "page_tokens", "publishes"),
    [
        ("auto", 1, False),
        ("auto", 8, False),
        ("auto", 16, True),
        ("on", 1, True),
        ("off", 64, False),
    ],
)
def test_workers_publish_what_they_hold_where_pages_are_large_or_it_is_asked_for(
    setting: Any, page_tokens: int, publishes: bool, namespace: argparse.Namespace
) -> None:
    prefix = PrefixConfig(events=setting)
    config = msgspec.structs.replace(make_cascade("small", "large"), prefix=prefix)
    arguments = TierArguments(namespace, config, lambda given: given)  # type: ignore[arg-type]
    spec = pool_specs(config)[0]
    assert arguments.publishes_events(spec, page_tokens) is publishes
    namespace.disable_radix_cache = True
    assert not arguments.publishes_events(spec, page_tokens)


def test_a_worker_that_publishes_binds_sockets_of_its_own(namespace: argparse.Namespace) -> None:
    config = make_cascade("small", "large")
    arguments = TierArguments(namespace, config, ServerArgs.from_cli_args)
    source = EventSource(endpoint="ipc:///x/w-0", replay_endpoint="ipc:///x/w-0-replay")
    worker = arguments.for_worker(pool_specs(config)[0], "w-0", 0.1, replica_at(0), on_host=True)
    publish_events(worker, source)
    events = json.loads(resolved_view(pickle.loads(pickle.dumps(worker))).kv_events_config)
    assert events["endpoint"] == source.endpoint
    assert events["replay_endpoint"] == source.replay_endpoint
    assert (events["publisher"], events["bind"]) == ("zmq", True)
