"""The character tokenizer: round trips, and one id sequence for raw and chat prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from demo.tasks.families import FAMILIES
from demo.tasks.splits import sample
from demo.tasks.tokenizer import (
    ANSWER_ID,
    EOS_ID,
    PAD_ID,
    VOCAB_SIZE,
    VOCABULARY,
    encode_answer,
    encode_prompt,
    save_tokenizer,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_vocabulary_fits_the_embedding() -> None:
    assert sorted(VOCABULARY.values()) == list(range(len(VOCABULARY)))
    assert len(VOCABULARY) <= VOCAB_SIZE


def test_text_survives_a_round_trip(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "\n" + "".join(map(chr, range(32, 127))) + " two  spaces , and . marks"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_raw_chat_and_training_paths_give_the_same_ids(tokenizer: PreTrainedTokenizerBase) -> None:
    for row in sample("train", 1, 60, tuple(FAMILIES)):
        system, _, user = row.prompt.rpartition("\n")
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": user})
        chat = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert chat == tokenizer(row.prompt)["input_ids"] == encode_prompt(row.prompt)


def test_answer_ends_with_end_of_sequence(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = encode_answer("4690")
    assert ids[-1] == EOS_ID == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "4690"


def test_special_ids_are_what_the_model_was_trained_with(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    assert tokenizer.pad_token_id == PAD_ID
    assert tokenizer.convert_tokens_to_ids("<|answer|>") == ANSWER_ID
    assert tokenizer("é", add_special_tokens=False)["input_ids"] == [tokenizer.unk_token_id]
