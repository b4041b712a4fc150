"""Questions, and which of two models answered each right: RouteLLM's evaluation data.

The questions are no part of this project. RouteLLM's repository (https://github.com/lm-sys/RouteLLM,
Apache-2.0) has them under `routellm/evals/`: `gsm8k/gsm8k_responses.csv` and
`mmlu/responses/mmlu_*.csv`, a line a question. A file here has a JSON object a line, of any part of
them: `{"prompt": "…", "mixtral_8x7b": false, "gpt_4_1106": true}`; further keys are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

BoolArray = npt.NDArray[np.bool_]

VOCABULARY = 8192


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    prompt: str
    mixtral_8x7b: bool
    gpt_4_1106: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSet:
    """N questions, and whether the weak (first) and the strong model answer each right."""

    name: str
    prompts: list[str]
    right_2N: BoolArray

    def part(self, rows: npt.NDArray[np.int64]) -> RoutingSet:
        """These rows of it."""
        prompts = [self.prompts[row] for row in rows]
        return RoutingSet(name=self.name, prompts=prompts, right_2N=self.right_2N[:, rows])


def load_set(path: Path) -> RoutingSet:
    """Read a set; its name is the file's.

    Raises:
        SystemExit: if it cannot be read; says where to get it.
    """
    try:
        lines = [msgspec.json.decode(line, type=_Line) for line in path.read_bytes().splitlines()]
    except (OSError, msgspec.DecodeError) as error:
        raise SystemExit(f"{path}: {error}; bench/entry/sets.py says where to get it") from error
    right = [(line.mixtral_8x7b, line.gpt_4_1106) for line in lines]
    return RoutingSet(
        name=path.stem.removeprefix("routing_"),
        prompts=[line.prompt for line in lines],
        right_2N=np.array(right, dtype=bool).T,
    )


def halves(whole: RoutingSet, seed: int) -> tuple[RoutingSet, RoutingSet]:
    """Two random halves of the set's distinct prompts; a prompt that stands twice stays in one."""
    distinct = sorted(set(whole.prompts))
    order = np.random.default_rng(seed).permutation(len(distinct))
    first = {distinct[index] for index in order[: len(distinct) // 2]}
    in_first_N = np.array([prompt in first for prompt in whole.prompts])
    return whole.part(np.flatnonzero(in_first_N)), whole.part(np.flatnonzero(~in_first_N))


def train_tokenizer(prompts: Sequence[str]) -> Tokenizer:
    """A byte-level BPE of these prompts, in place of the served models' tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(prompts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt."""
    return [encoding.ids for encoding in tokenizer.encode_batch(list(prompts))]
