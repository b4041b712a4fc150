"""Folders of stand-in models: a vocabulary of some words, a chat template, weights of zeros."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import PreTokenizer, Whitespace

WORDS = ("<unk>", "<eos>", "hello", "world", "Paris", "in")
PLAIN = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SHAPE: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "dtype": "bfloat16",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "vocab_size": len(WORDS),
}


def write_model(
    folder: Path,
    *,
    hidden: int = 16,
    words: Sequence[str] = WORDS,
    pre_tokenizer: PreTokenizer | None = None,
    template: str | None = PLAIN,
    tokenizer_config: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
) -> str:
    """Write a folder; its path. A larger `hidden` gives more weights."""
    folder.mkdir(parents=True)
    shape = {**SHAPE, "hidden_size": hidden}
    (folder / "config.json").write_text(json.dumps(shape))
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer or Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    defaults = {"eos_token": "<eos>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**defaults, **(tokenizer_config or {})})
    )
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    (folder / "generation_config.json").write_text(json.dumps(generation or {"eos_token_id": 1}))
    write_weights(folder / "model.safetensors", [hidden, 100])
    return str(folder)


def write_weights(file: Path, shape: Sequence[int]) -> None:
    """Write a safetensors file of one tensor of zeros in bf16."""
    size = 2 * shape[0] * shape[1]
    tensor = {"dtype": "BF16", "shape": list(shape), "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weights": tensor}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
