"""Cascades of large models on H100s that no one here has: what the benches of whole plans plan for.

Shapes are those of published `config.json` files. Step times are a roofline's, arrivals and lengths
are drawn from a seed or read from a trace, and how good the tiers are is an assumption: nothing of
it is measured.
"""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from cascadia_sglang.planner.problem.problem import CalibrationRow
from cascadia_sglang.planner.workload.workload import Workload, build_workload

LLAMA_8B: dict[str, Any] = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
LLAMA_70B: dict[str, Any] = {
    "num_hidden_layers": 80,
    "hidden_size": 8192,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 28672,
    "vocab_size": 128256,
}
# DeepSeek-R1's distillations into Qwen2.5-7B and Llama-70B, and R1 with four-bit weights.
DISTILL_7B: dict[str, Any] = {
    "num_hidden_layers": 28,
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
}
DEEPSEEK_671B: dict[str, Any] = {
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "quantization_config": {"quant_method": "awq", "bits": 4},
}
DEEPSEEK = (
    {"name": "7b", "model": DISTILL_7B},
    {"name": "70b", "model": LLAMA_70B},
    {"name": "671b", "model": DEEPSEEK_671B},
)
# Their sizes are built in, so neither folders nor the hub are needed.
QWEN3 = (
    {"name": "1.7b", "model": "Qwen/Qwen3-1.7B"},
    {"name": "8b", "model": "Qwen/Qwen3-8B"},
    {"name": "32b", "model": "Qwen/Qwen3-32B"},
)
LLAMA = ({"name": "8b", "model": LLAMA_8B}, {"name": "70b", "model": LLAMA_70B})


def graded_sample(skills: tuple[float, ...], rows: int, seed: int) -> list[CalibrationRow]:
    """Answers of tiers of these mean qualities to prompts of one hardness for all.

    A tier is right where its skill exceeds the prompt's hardness and some luck of its own, normal
    both; its score is the chance of that, seen through noise. `entry` is the same chance, seen
    through twice the noise, as what can be told from a prompt alone.
    """
    random = np.random.default_rng(seed)
    hard_N = random.normal(size=rows)
    luck = 0.7
    spread = float(np.hypot(1.0, luck))
    limits = [NormalDist().inv_cdf(skill) * spread for skill in skills]
    right = [(limit - hard_N + luck * random.normal(size=rows)) > 0 for limit in limits]

    def seen(noise: float) -> list[np.ndarray]:
        return [
            1 / (1 + np.exp(-2.4 * (limit - hard_N) + noise * random.normal(size=rows)))
            for limit in limits[:-1]
        ]

    scores, entry = seen(1.0), seen(2.0)
    return [
        CalibrationRow(
            scores=[float(tier_N[row]) for tier_N in scores],
            correct=[float(tier_N[row]) for tier_N in right],
            entry=[float(tier_N[row]) for tier_N in entry],
        )
        for row in range(rows)
    ]


def drawn_workload(
    rate_per_s: float, count: int, seed: int, *, inputs: float = 1200.0, outputs: float = 220.0
) -> Workload:
    """Requests in bursts: the rate drifts by a factor of up to two within minutes.

    Lengths are log-normal, widely spread, and cut at 14,000 and 1,000 tokens as those of public
    traces of conversations are.
    """
    random = np.random.default_rng(seed)
    drift = 0.35 * np.sin(np.arange(count) / 400) + 0.15 * np.sin(np.arange(count) / 90)
    arrivals_s = np.cumsum(random.exponential(1.0 / rate_per_s, count) * np.exp(drift))

    def lengths(mean: float, deviation: float, most: int) -> np.ndarray:
        drawn = random.lognormal(np.log(mean) - deviation**2 / 2, deviation, count)
        return np.clip(np.rint(drawn), 1, most)

    load = build_workload(arrivals_s, lengths(inputs, 1.2, 14_000), lengths(outputs, 0.9, 1_000))
    return load.at_rate(rate_per_s)


def save_trace(workload: Workload, path: Path) -> None:
    """Write requests as a trace in the project's own format, without prefixes."""
    lines = ["timestamp,input_tokens,output_tokens"]
    lines += [
        f"{at:.6f},{read},{written}"
        for at, read, written in zip(
            workload.arrival_s_R, workload.input_tokens_R, workload.output_tokens_R, strict=True
        )
    ]
    path.write_text("\n".join(lines) + "\n")
