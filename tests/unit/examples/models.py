"""Folders of public models: their sizes, an index of their weights, no weights."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.repo.source import ROOT

DEMO = ROOT / "demo" / "models"
QWEN: dict[str, Any] = {"model_type": "qwen3", "vocab_size": 151_936, "head_dim": 128}
LLAMA: dict[str, Any] = {"model_type": "llama", "vocab_size": 128_256}
SMOLLM: dict[str, Any] = {"model_type": "llama", "vocab_size": 49_152}
CODER: dict[str, Any] = {"model_type": "qwen2", "vocab_size": 151_936, "attention_bias": True}


def _sizes(layers: int, hidden: int, heads: int, width: int, is_tied: bool) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "intermediate_size": width,
        "tie_word_embeddings": is_tied,
        "dtype": "bfloat16",
    }


# Of each model what its config.json says, and `total_size` of its index.
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "Qwen3-0.6B": ({**QWEN, **_sizes(28, 1024, 16, 3072, True)}, 1_503_264_768),
    "Qwen3-4B": ({**QWEN, **_sizes(36, 2560, 32, 9728, True)}, 8_044_936_192),
    "Qwen3-8B": ({**QWEN, **_sizes(36, 4096, 32, 12_288, False)}, 16_381_470_720),
    "Qwen3-14B": ({**QWEN, **_sizes(40, 5120, 40, 17_408, False)}, 29_536_614_400),
    "Qwen3-32B": ({**QWEN, **_sizes(64, 5120, 64, 25_600, False)}, 65_524_246_528),
    "Llama-3.2-1B-Instruct": ({**LLAMA, **_sizes(16, 2048, 32, 8192, True)}, 2_471_628_800),
    "Llama-3.2-3B-Instruct": ({**LLAMA, **_sizes(28, 3072, 24, 8192, True)}, 6_425_499_648),
    "Llama-3.1-8B-Instruct": ({**LLAMA, **_sizes(32, 4096, 32, 14_336, False)}, 16_060_522_496),
    "SmolLM2-360M-Instruct": (
        {**SMOLLM, **_sizes(32, 960, 15, 2560, True), "num_key_value_heads": 5},
        723_642_240,
    ),
    "SmolLM2-135M-Instruct": (
        {**SMOLLM, **_sizes(30, 576, 9, 1536, True), "num_key_value_heads": 3},
        269_030_016,
    ),
    "Qwen2.5-Coder-0.5B-Instruct": (
        {**CODER, **_sizes(24, 896, 14, 4864, True), "num_key_value_heads": 2},
        988_065_536,
    ),
    "Qwen2.5-Coder-1.5B-Instruct": (
        {**CODER, **_sizes(28, 1536, 12, 8960, True), "num_key_value_heads": 2},
        3_087_428_608,
    ),
    "Llama-3.3-70B-Instruct": ({**LLAMA, **_sizes(80, 8192, 64, 28_672, False)}, 141_107_412_992),
}


def write_models(folder: Path) -> None:
    """Write a folder of every model, with a stand-in for its tokenizer, and two calibrations."""
    for name, (config, total) in MODELS.items():
        model_folder = folder / "models" / name
        model_folder.mkdir(parents=True)
        (model_folder / "config.json").write_text(json.dumps(config))
        index = {"metadata": {"total_size": total}, "weight_map": {}}
        (model_folder / "model.safetensors.index.json").write_text(json.dumps(index))
        shutil.copy(DEMO / "small" / "tokenizer.json", model_folder)
    (folder / "calibration").mkdir()
    for name in ("small", "middle"):
        shutil.copy(DEMO / name / "calibration.json", folder / "calibration" / f"{name}.json")
