"""Sizes of published models by their hub names, as their `config.json` files give them.

So a plan for one of them needs neither a folder nor the hub.
"""

from __future__ import annotations

from typing import Any

# Layers, hidden size, heads, heads of keys and values, their size, inner size, vocabulary, and
# whether input and output share one table.
_QWEN = 151936
_SIZES: dict[str, tuple[int, int, int, int, int, int, int, bool]] = {
    "Qwen/Qwen3-0.6B": (28, 1024, 16, 8, 128, 3072, _QWEN, True),
    "Qwen/Qwen3-1.7B": (28, 2048, 16, 8, 128, 6144, _QWEN, True),
    "Qwen/Qwen3-4B": (36, 2560, 32, 8, 128, 9728, _QWEN, True),
    "Qwen/Qwen3-8B": (36, 4096, 32, 8, 128, 12288, _QWEN, False),
    "Qwen/Qwen3-14B": (40, 5120, 40, 8, 128, 17408, _QWEN, False),
    "Qwen/Qwen3-32B": (64, 5120, 64, 8, 128, 25600, _QWEN, False),
    "Qwen/Qwen2.5-0.5B-Instruct": (24, 896, 14, 2, 64, 4864, _QWEN, True),
    "Qwen/Qwen2.5-1.5B-Instruct": (28, 1536, 12, 2, 128, 8960, _QWEN, True),
    "Qwen/Qwen2.5-7B-Instruct": (28, 3584, 28, 4, 128, 18944, 152064, False),
    "Qwen/Qwen2.5-14B-Instruct": (48, 5120, 40, 8, 128, 13824, 152064, False),
    "Qwen/Qwen2.5-32B-Instruct": (64, 5120, 40, 8, 128, 27648, 152064, False),
    "Qwen/Qwen2.5-72B-Instruct": (80, 8192, 64, 8, 128, 29568, 152064, False),
    "meta-llama/Llama-3.2-1B-Instruct": (16, 2048, 32, 8, 64, 8192, 128256, True),
    "meta-llama/Llama-3.2-3B-Instruct": (28, 3072, 24, 8, 128, 8192, 128256, True),
    "meta-llama/Llama-3.1-8B-Instruct": (32, 4096, 32, 8, 128, 14336, 128256, False),
    "meta-llama/Llama-3.1-70B-Instruct": (80, 8192, 64, 8, 128, 28672, 128256, False),
}


def _config(sizes: tuple[int, int, int, int, int, int, int, bool]) -> dict[str, Any]:
    layers, hidden, heads, kv_heads, head_size, inner, vocabulary, is_tied = sizes
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_size,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": is_tied,
    }


KNOWN_CONFIGS = {name: _config(sizes) for name, sizes in _SIZES.items()}
