"""Writes a trained model as Hugging Face files that transformers and SGLang load."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from demo.tasks.tokenizer import EOS_ID, PAD_ID, VOCAB_SIZE, save_tokenizer
from demo.train.model import INIT_STD, NORM_EPS, ROPE_THETA, DemoModel

MAX_POSITIONS = 2048


def export(model: DemoModel, folder: Path) -> None:
    """Write config, bf16 weights, generation config and tokenizer into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: t.bfloat16().contiguous() for name, t in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", _config(model))
    _write(
        folder / "generation_config.json",
        {"do_sample": False, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID},
    )
    save_tokenizer(folder)


def _config(model: DemoModel) -> dict[str, object]:
    shape, layers = model.shape, len(model.model.layers)
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": INIT_STD,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": MAX_POSITIONS,
        "max_window_layers": layers,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": NORM_EPS,
        "rope_scaling": None,
        "rope_theta": ROPE_THETA,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": VOCAB_SIZE,
    }


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
