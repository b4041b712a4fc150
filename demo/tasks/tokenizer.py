"""One character tokenizer for every tier.

A raw prompt gets the answer marker from the post-processor, a chat from its template: both paths
give the same ids.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, processors
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNK, ANSWER = "<pad>", "<eos>", "<unk>", "<|answer|>"
_SPECIALS = (PAD, EOS, UNK, ANSWER)
_CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))

VOCABULARY = {token: index for index, token in enumerate((*_SPECIALS, *_CHARACTERS))}
VOCAB_SIZE = 128  # rows of the embedding; those past the vocabulary are never a target
PAD_ID, EOS_ID, ANSWER_ID = VOCABULARY[PAD], VOCABULARY[EOS], VOCABULARY[ANSWER]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if not loop.first %}{{ '\\n' }}{% endif %}{{ message['content'] }}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{ANSWER}' }}}}{{% endif %}}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: a BPE without merges, that is, one token per character."""
    tokenizer = Tokenizer(models.BPE(vocab=VOCABULARY, merges=[], unk_token=UNK))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {ANSWER}", special_tokens=[(ANSWER, ANSWER_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[ANSWER],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
    )


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into a model's folder."""
    build_tokenizer().save_pretrained(folder)


def encode_prompt(prompt: str) -> list[int]:
    """Ids of a prompt with its answer marker; the fast path of training, equal to the tokenizer."""
    return [*(VOCABULARY[character] for character in prompt), ANSWER_ID]


def encode_answer(answer: str) -> list[int]:
    """Ids of an answer with the end-of-sequence token."""
    return [*(VOCABULARY[character] for character in answer), EOS_ID]
