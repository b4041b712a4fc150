"""Models of a real architecture with random weights, little of anything, and a large vocabulary."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

VOCABULARY = 150_016
_END, _START = "<|im_end|>", "<|im_start|>"
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_model(folder: Path, seed: int, layers: int) -> None:
    """Write a model folder that SGLang can serve; equal but for weights and size."""
    _save_tokenizer(folder)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=VOCABULARY - 1,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def _save_tokenizer(folder: Path) -> None:
    """Every byte is a token; all others are words that no text has."""
    bytes_alone = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"word{number}" for number in range(VOCABULARY - len(bytes_alone) - 2)]
    vocabulary = {token: index for index, token in enumerate((*bytes_alone, *words))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_START, _END])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END)
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(folder)
