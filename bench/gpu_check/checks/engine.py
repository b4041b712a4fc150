"""What the judge costs: tokens per second of a cascade's worker beside plain SGLang's.

Both serve a model of Qwen3's shape with made-up weights at the same time; only one of them has
work, in turn: plain, judged, plain. No answer is taken further: the threshold accepts all.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from random import Random
from typing import Any

from bench.gpu_check.checks.servers import Server, all_serving, model, status
from bench.gpu_check.results import Check
from bench.harness.client import post, send_all

PLAIN, JUDGED = "plain SGLang", "judged"
CONCURRENCY = (1, 32, 256)
ROUNDS = (PLAIN, JUDGED, PLAIN, JUDGED, PLAIN)
ANSWER_TOKENS = 128
PROMPT_TOKENS = 32
LEAST_RATIO = 0.9
_SLACK_S = 6.0

QWEN3_06B: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
# Without a card: two narrow layers, a vocabulary that still spans several ranges of the kernels.
TINY = {
    "head_dim": 32,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "max_window_layers": 2,
}


def run(check: Check) -> bool:
    """Start both, then take turns at every concurrency."""
    folder = made_up_model(check.work / "qwen3", TINY if check.dry else {})
    common = ("--load-format", "dummy", "--max-total-tokens", "65536", "--context-length", "4096")
    servers = [
        Server(name=PLAIN, flags=("--model-path", str(folder), *common)),
        Server(name=JUDGED, config=cascade(folder)),
    ]
    started = time.monotonic()
    with all_serving(check, servers) as ports:
        check.number("both servers", "cold", "start", "s", time.monotonic() - started)
        for worker in status(ports[JUDGED])["workers"]:
            for phase, seconds in worker["start_s"].items():
                check.number("start of a worker", worker["id"], phase, "s", float(seconds))
        passed = [_compare(check, ports, width) for width in _widths(check.dry)]
        tiers = status(ports[JUDGED])["tiers"]
    errors = sum(tier["judge_errors"] for tier in tiers)
    passed.append(check.passes("the judge made no error", errors == 0, errors=errors))
    first = tiers[0]
    passed.append(
        check.passes(
            "every answer was judged and accepted",
            first["answered"] > 0 and first["escalated"] == 0,
            answered=first["answered"],
            escalated=first["escalated"],
        )
    )
    return all(passed)


def made_up_model(folder: Path, changes: dict[str, Any]) -> Path:
    """A model's folder without weights; the demo's tokenizer covers the first ids."""
    shutil.copytree(model("small"), folder, ignore=shutil.ignore_patterns("*.safetensors", "cal*"))
    (folder / "config.json").write_text(json.dumps({**QWEN3_06B, **changes}))
    generation = folder / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": QWEN3_06B["eos_token_id"]}))
    return folder


def cascade(folder: Path) -> dict[str, Any]:
    """Two tiers of the model in one worker."""
    tier = {
        "model_path": str(folder),
        "server_args": {
            "load_format": "dummy",
            "max_total_tokens": 65536,
            "context_length": 4096,
        },
    }
    calibration = f"{model('small')}/calibration.json"
    return {
        "tiers": [
            {"name": "first", **tier, "calibration": calibration},
            {"name": "second", **tier},
        ],
        "routing": {"thresholds": [0.0], "early_abort": None},
    }


def _widths(dry: bool) -> tuple[int, ...]:
    return (1, 4) if dry else CONCURRENCY


def _compare(check: Check, ports: dict[str, int], width: int) -> bool:
    """Tokens per second of both in turn; the judged's share of the plain one's."""
    tokens = 8 if check.dry else ANSWER_TOKENS
    rates: dict[str, list[float]] = {PLAIN: [], JUDGED: []}
    for port in ports.values():
        send_all(port, _requests(width, 4, seed=width), width)  # compiles, captures
    for number, name in enumerate(ROUNDS):
        if check.left_s() < _SLACK_S:
            return check.passes(f"concurrency {width}: there was time", False, rounds=number)
        sent = send_all(ports[name], _requests(2 * width, tokens, seed=1000 * width), width)
        rates[name].append(2 * width * tokens / sent.seconds)
        check.number(f"concurrency {width}", name, f"round {number}", "tokens/s", rates[name][-1])
    judged, plain = (sum(rates[name]) / len(rates[name]) for name in (JUDGED, PLAIN))
    noise = abs(rates[PLAIN][0] - rates[PLAIN][-1]) / plain
    check.number(f"concurrency {width}", "judged / plain", "tokens/s", "1", judged / plain)
    if check.dry:  # the two differ by whatever else the cores do
        return True
    return check.passes(
        f"concurrency {width}: the judge costs little",
        judged / plain >= LEAST_RATIO - noise,
        ratio=judged / plain,
        noise=noise,
    )


def _requests(count: int, tokens: int, seed: int) -> list[bytes]:
    """Prompts of random ids below the demo's vocabulary; answers run to their limit."""
    random = Random(seed)
    sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
    return [
        post(
            "/generate",
            {
                "input_ids": [random.randrange(2, 100) for _ in range(PROMPT_TOKENS)],
                "sampling_params": sampling,
            },
        )
        for _ in range(count)
    ]
