"""Step times of a device that was not measured: a roofline of the model's shape.

A step takes the longer of its arithmetic and its memory traffic, all layers alike, at data-sheet
speeds times what large kernels reach (Williams et al., Roofline, CACM 2009). To that come the small
kernels of every layer, the communication of the parallel ranks, and a floor of host time. The
constants are chosen so that decoding steps come near what SGLang and vLLM publish; the docs list
the error per card and shape. Nothing here was measured by this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.models.config_json import read_model_config
from cascadia_sglang.planner.speed.known_models import KNOWN_CONFIGS
from cascadia_sglang.planner.speed.profile import EngineLimits, HostTimes, Profile, StepTimes

# Shares of the data sheet that large kernels reach.
FLOPS_REACHED, BANDWIDTH_REACHED = 0.6, 0.85
# What a layer's small kernels take beside its matrices: norms, rotations, attention, the gaps.
LAYER_OVERHEAD_S = 85e-6
# What a host needs to schedule and launch a step where nothing else is said.
HOST_STEP_MS = 2.4
# Latency of an all-reduce of a small message: a constant and a part per rank. NVLink: 6 us on two
# H100s (github.com/NVIDIA/nccl/issues/1259). Slower links have PCIe's.
NVLINK_S, NVLINK_RANK_S = 4e-6, 1e-6
PCIE_S, PCIE_RANK_S = 10e-6, 3e-6
# From this bandwidth on a link is taken for NVLink.
LEAST_NVLINK_GB_PER_S = 100.0
# From one stage to the next.
HAND_OVER_S = 5e-6
MEMORY_FOR_WORKER = 0.88
# Of one long request; a worker with less is none.
LEAST_KV_TOKENS = 8192
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (1, 16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A device by its data sheet: dense bf16 arithmetic, memory, links to its neighbours.

    Attributes:
        host_step_ms: what its host needs to schedule and launch a step; no step takes less. Of a
            measured profile `host.step_ms`.
        bandwidth_reached: share of the memory bandwidth that reading weights reaches.
    """

    name: str
    tflops: float
    memory_gb: float
    memory_gb_per_s: float
    link_gb_per_s: float
    host_step_ms: float = HOST_STEP_MS
    bandwidth_reached: float = BANDWIDTH_REACHED


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu(name="A100", tflops=312, memory_gb=80, memory_gb_per_s=2039, link_gb_per_s=300),
        Gpu(name="H100", tflops=989, memory_gb=80, memory_gb_per_s=3350, link_gb_per_s=450),
        Gpu(name="H100 NVL", tflops=835, memory_gb=94, memory_gb_per_s=3938, link_gb_per_s=300),
        Gpu(name="H200", tflops=989, memory_gb=141, memory_gb_per_s=4800, link_gb_per_s=450),
        Gpu(name="B200", tflops=2250, memory_gb=180, memory_gb_per_s=8000, link_gb_per_s=900),
        # Its few processors do not read at the rate of its memory: by the published steps of 4 and
        # 8 billion parameters.
        Gpu(
            name="H20",
            tflops=148,
            memory_gb=96,
            memory_gb_per_s=4000,
            link_gb_per_s=450,
            bandwidth_reached=0.45,
        ),
        Gpu(name="A10", tflops=125, memory_gb=24, memory_gb_per_s=600, link_gb_per_s=32),
        Gpu(name="L4", tflops=121, memory_gb=24, memory_gb_per_s=300, link_gb_per_s=32),
        Gpu(name="L40S", tflops=362, memory_gb=48, memory_gb_per_s=864, link_gb_per_s=32),
        Gpu(name="RTX 4090", tflops=165, memory_gb=24, memory_gb_per_s=1008, link_gb_per_s=32),
        Gpu(name="RTX 6000 Ada", tflops=364, memory_gb=48, memory_gb_per_s=960, link_gb_per_s=32),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What a `config.json` says of a model's size.

    Attributes:
        parameters: that lie in memory; `active` of them work on each token.
        kv_bytes: of a token's keys and values.
        kv_shards: parallel ranks that these can be divided among; 1 for latent attention, where
            every rank holds them whole.
        weight_bytes: of a parameter.
    """

    layers: int
    hidden: int
    heads: int
    head_size: int
    parameters: float
    active: float
    kv_bytes: float
    kv_shards: int
    weight_bytes: float


def load_shape(model: str | Path) -> ModelShape:
    """Read the shape of a model, in a folder or by its hub name; some names need no hub.

    Raises:
        ConfigError: if `config.json` is missing or lacks a size; names the file and the key.
    """
    data = KNOWN_CONFIGS.get(str(model)) or read_model_config(model)
    try:
        return shape_of_config(data)
    except KeyError as error:
        raise ConfigError(f"{model}/config.json: {error.args[0]} is missing") from error


def shape_of_config(data: Mapping[str, Any]) -> ModelShape:
    """Sizes of a decoder with grouped or latent attention, dense or with routed experts.

    Raises:
        KeyError: for a size that is not there.
    """
    layers, hidden, heads = (
        int(data[key]) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    head_size = int(data.get("head_dim") or hidden // heads)
    kv_heads = int(data.get("num_key_value_heads") or heads)
    bits = (data.get("quantization_config") or {}).get("bits") or (
        8 if (data.get("quantization_config") or {}).get("quant_method") == "fp8" else 16
    )
    attention = hidden * head_size * (2 * heads + 2 * kv_heads)
    kv_bytes = layers * 2 * kv_heads * head_size * 2.0
    latent = int(data.get("kv_lora_rank") or 0)
    if latent:
        rope, nope = int(data["qk_rope_head_dim"]), int(data["qk_nope_head_dim"])
        value, query = int(data["v_head_dim"]), int(data.get("q_lora_rank") or hidden)
        attention = hidden * (query + latent + rope) + heads * value * hidden
        attention += query * heads * (nope + rope) + latent * heads * (nope + value)
        kv_bytes = layers * (latent + rope) * 2.0
    experts = int(data.get("n_routed_experts") or data.get("num_experts") or 0)
    dense = 3 * hidden * int(data["intermediate_size"])
    sparse, active = dense, dense
    first_dense = layers
    if experts:
        width = int(data["moe_intermediate_size"])
        first_dense = int(data.get("first_k_dense_replace") or 0)
        shared = int(data.get("n_shared_experts") or 0)
        sparse = 3 * hidden * width * (experts + shared)
        active = 3 * hidden * width * (int(data["num_experts_per_tok"]) + shared)
    embedding = int(data["vocab_size"]) * hidden
    tables = embedding * (1 if data.get("tie_word_embeddings") else 2)
    rest = layers - first_dense
    return ModelShape(
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_size=head_size,
        parameters=float(layers * attention + first_dense * dense + rest * sparse + tables),
        active=float(layers * attention + first_dense * dense + rest * active + embedding),
        kv_bytes=kv_bytes,
        kv_shards=1 if latent else kv_heads,
        weight_bytes=bits / 8,
    )


def kv_tokens(shape: ModelShape, gpu: Gpu, tp: int, pp: int) -> int:
    """Tokens of the KV cache of tp x pp devices after the weights; 0 where these do not fit."""
    weights = shape.parameters * shape.weight_bytes / (tp * pp)
    room = gpu.memory_gb * 1e9 * MEMORY_FOR_WORKER - weights
    return max(0, int(room / (shape.kv_bytes / (pp * min(tp, shape.kv_shards)))))


def roofline_times(shape: ModelShape, gpu: Gpu, tp: int, pp: int) -> StepTimes:
    """Step times of one replica on tp x pp devices.

    Stages of a pipeline work one after the other on a batch, so a step takes as long as on one
    stage; that pp batches are under way at once is the simulator's affair.
    """
    bandwidth = tp * gpu.memory_gb_per_s * 1e9 * gpu.bandwidth_reached
    flops = tp * gpu.tflops * 1e12 * FLOPS_REACHED

    def seconds(tokens: int) -> float:
        # Of routed experts, a small batch reads only those that it uses.
        touched = min(shape.parameters, shape.active * tokens) * shape.weight_bytes
        compute_s = 2.0 * shape.active * tokens / flops
        step_s = max(compute_s, touched / bandwidth) + shape.layers * LAYER_OVERHEAD_S
        step_s += _communication_s(shape, gpu, tp, pp, tokens)
        # The host prepares the next step while this one runs, so the longer of both counts.
        return max(step_s, gpu.host_step_ms / 1e3)

    attention_flops = 4.0 * shape.layers * shape.heads * shape.head_size
    return StepTimes(
        decode_ms=[(rows, 1e3 * seconds(rows)) for rows in ROWS],
        prefill_ms=[(tokens, 1e3 * seconds(tokens)) for tokens in TOKENS],
        decode_context_us=1e6 * shape.kv_bytes / (bandwidth * min(tp, shape.kv_shards) / tp),
        prefill_context_ns=1e9 * attention_flops / flops,
    )


def _communication_s(shape: ModelShape, gpu: Gpu, tp: int, pp: int, tokens: int) -> float:
    """Two ring all-reduces a layer over tp ranks, one hand-over between two stages."""
    activation = tokens * shape.hidden * 2.0
    link = gpu.link_gb_per_s * 1e9
    reduce_s = 0.0
    if tp > 1:
        ring_s = 2.0 * (tp - 1) / tp * activation / link + all_reduce_latency_s(gpu, tp)
        reduce_s = 2.0 * shape.layers * ring_s
    return reduce_s + (pp - 1) * (activation / link + HAND_OVER_S)


def all_reduce_latency_s(gpu: Gpu, ranks: int) -> float:
    """Seconds of an all-reduce of a message so small that its size does not count."""
    if gpu.link_gb_per_s >= LEAST_NVLINK_GB_PER_S:
        return NVLINK_S + NVLINK_RANK_S * ranks
    return PCIE_S + PCIE_RANK_S * ranks


def roofline_limits(
    shape: ModelShape,
    gpu: Gpu,
    tp: int,
    pp: int,
    *,
    max_running_requests: int = 256,
    chunked_prefill_tokens: int = 8192,
) -> EngineLimits | None:
    """What one replica on tp x pp devices holds; None where the weights do not fit."""
    tokens = kv_tokens(shape, gpu, tp, pp)
    if tokens < 1:
        return None
    return EngineLimits(
        kv_tokens=tokens,
        max_running_requests=max_running_requests,
        chunked_prefill_tokens=chunked_prefill_tokens,
    )


def roofline_profile(models: Mapping[str, str], gpu: Gpu, tp: int, pp: int) -> Profile:
    """A profile of every tier on one kind of device and one shape, labelled as not measured.

    Args:
        models: folder with `config.json`, or hub name, by tier name.

    Raises:
        ConfigError: if a model cannot be read or does not fit.
    """
    times, limits = {}, {}
    for name, folder in models.items():
        shape = load_shape(folder)
        held = roofline_limits(shape, gpu, tp, pp) if tp >= 1 and pp >= 1 else None
        if held is None or held.kv_tokens < LEAST_KV_TOKENS:
            raise ConfigError(
                f"tier {name}: {shape.parameters * shape.weight_bytes / 1e9:.1f} GB of weights do "
                f"not fit {tp} x {pp} {gpu.name} of {gpu.memory_gb:g} GB with a KV cache"
            )
        times[name] = roofline_times(shape, gpu, tp, pp)
        limits[name] = held
    return Profile(
        version=1,
        device=f"{tp} x {pp} {gpu.name}, data sheet and constants",
        source="roofline",
        tiers=times,
        limits=limits,
        host=HostTimes(step_ms=gpu.host_step_ms),
    )
