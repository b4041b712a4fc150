"""The committed tiers: small files that transformers loads as Qwen3."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from demo import MODELS
from demo.calibrate.evaluate import answers
from demo.tasks.families import is_correct
from demo.tasks.splits import sample
from demo.tasks.tokenizer import EOS_ID, encode_prompt
from demo.train.tiers import TIERS

MOST_BYTES = 40 * 2**20


def test_models_together_stay_small() -> None:
    files = [path for name in TIERS for path in (MODELS / name).iterdir()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


@pytest.fixture(params=TIERS)
def folder(request: pytest.FixtureRequest) -> Path:
    return MODELS / str(request.param)


def test_config_is_the_declared_qwen3(folder: Path) -> None:
    config, tier = AutoConfig.from_pretrained(folder), TIERS[folder.name]
    assert config.architectures == ["Qwen3ForCausalLM"]
    assert config.num_hidden_layers == tier.stages[-1].layers
    assert config.hidden_size == tier.shape.hidden
    assert config.max_position_embeddings == 2048
    assert GenerationConfig.from_pretrained(folder).eos_token_id == EOS_ID


def test_committed_tokenizer_is_the_built_one(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("add 12 7")["input_ids"] == encode_prompt("add 12 7")


def test_tier_answers_easy_questions(folder: Path) -> None:
    rows = sample("test", 1, 40, ("rev", "sort"), max_sizes={"rev": 6, "sort": 6})
    right = [is_correct(r, a) for r, a in zip(rows, answers(folder, rows), strict=True)]
    assert sum(right) >= 36
