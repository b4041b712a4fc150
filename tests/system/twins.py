"""Copies of the demo's models that speak another language: other token ids, another template."""

import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

# The demo's template, but for spaces around a message.
TRIMMING = (
    "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ message['content'] | trim }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|answer|>' }}{% endif %}"
)


def permuted(model: Path, folder: Path, seed: int = 1) -> Path:
    """A copy of a model that has every token under another id, and trims messages.

    It writes the same texts: vocabulary, embeddings, ends and post-processor are exchanged alike.
    """
    shutil.copytree(model, folder)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    count = len(tokenizer["model"]["vocab"])
    ids = list(range(count))
    random.Random(seed).shuffle(ids)
    weights = load_file(model / "model.safetensors")
    for name in [name for name in weights if "embed_tokens" in name or "lm_head" in name]:
        exchanged = weights[name].clone()
        exchanged[torch.tensor(ids)] = weights[name][:count]
        weights[name] = exchanged
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for file in ("config.json", "generation_config.json"):
        settings = json.loads((model / file).read_text())
        for key in ("eos_token_id", "pad_token_id"):
            settings[key] = ids[settings[key]]
        (folder / file).write_text(json.dumps(settings))
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: ids[index] for token, index in vocabulary.items()}
    for added in tokenizer["added_tokens"]:
        added["id"] = ids[added["id"]]
    tokenizer["added_tokens"].sort(key=lambda added: added["id"])
    for special in tokenizer["post_processor"]["special_tokens"].values():
        special["ids"] = [ids[index] for index in special["ids"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "chat_template.jinja").write_text(TRIMMING)
    return folder


LEARNED = "add the numbers and reverse the letters again"


def byte_model(model: Path, folder: Path, text: str = LEARNED) -> Path:
    """A model of the same shape over pieces of bytes, to be served with made-up weights.

    Args:
        text: of which the tokenizer learns its pieces.
    """
    folder.mkdir()
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>", "<pad>", "<|answer|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((model / "config.json").read_text())
    settings |= {"vocab_size": 320, "eos_token_id": 0, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(settings))
    ends = {"eos_token_id": 0, "pad_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    named = {"eos_token": "<eos>", "pad_token": "<pad>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, **kind}))
    (folder / "chat_template.jinja").write_text(TRIMMING)
    return folder


def ids_of(folder: Path, text: str) -> list[int]:
    """A text in a model's token ids, as its tokenizer prompts with it."""
    ids: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    return ids
