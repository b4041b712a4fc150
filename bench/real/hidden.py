"""Hidden states of real models' recorded answers, read again by PyTorch; kept outside git.

The state is the last layer's after the final norm, as it enters the output head. A probe reads the
one that gave an answer's last token. Questions of a set share the beginning of their prompts, which
is computed once.

Example:
    python -m bench.real.hidden --small PATH --sets short reasoning

Shape legend: N answers, B answers of a batch, T positions, H hidden size.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.real.answers import StoredAnswer, load_answers
from bench.real.question_sets import SETS, Question, question_set
from bench.real.record import CACHE
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.progress import Progress

BATCH = 16


def hidden_file(model: str, name: str) -> Path:
    """Where a model's hidden states of a set are kept."""
    return CACHE / model / f"hidden-{name}.npz"


def load_hidden(model: str, questions: Sequence[Question]) -> FloatArray:
    """The state that gave the last token of each answer, [N, H].

    Raises:
        SystemExit: if one is missing.
    """
    states: dict[str, FloatArray] = {}
    for name in dict.fromkeys(question.set for question in questions):
        path = hidden_file(model, name)
        if not path.exists():
            raise SystemExit(f"{path} is missing: bench.real.hidden makes it")
        with np.load(path) as stored:
            states |= zip(stored["ids"].tolist(), stored["last_NH"].astype(np.float64), strict=True)
    missing = [question.id for question in questions if question.id not in states]
    if missing:
        raise SystemExit(f"{len(missing)} hidden states are missing: bench.real.hidden makes them")
    return np.array([states[question.id] for question in questions])


class Reader:
    """A model that reads prompts with their answers."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        # The output head is not needed.
        self._model: Any = whole.model.eval()

    def prompt_ids(self, question: Question) -> list[int]:
        """The prompt as the server builds it."""
        ids: list[int] = self._tokenizer.apply_chat_template(
            list(question.messages), add_generation_prompt=True, return_dict=False
        )
        return ids

    @torch.inference_mode()
    def begin(self, shared: Sequence[int]) -> Any:
        """The cache of tokens with which several texts begin."""
        return self._model(torch.tensor([shared]), use_cache=True).past_key_values

    @torch.inference_mode()
    def last_states(self, cache: Any, rest: Sequence[Sequence[int]]) -> FloatArray:
        """The state at the last position of each text, [B, H].

        Args:
            cache: of the tokens with which all begin.
            rest: what follows in each.
        """
        shared = cache.get_seq_length()
        longest = max(map(len, rest))
        ids_BT = torch.zeros(len(rest), longest, dtype=torch.long)
        mask_BT = torch.zeros(len(rest), shared + longest, dtype=torch.long)
        mask_BT[:, :shared] = 1
        for row, ids in enumerate(rest):
            ids_BT[row, : len(ids)] = torch.tensor(ids)
            mask_BT[row, shared : shared + len(ids)] = 1
        repeated = copy.deepcopy(cache)
        repeated.batch_repeat_interleave(len(rest))
        read = self._model(ids_BT, attention_mask=mask_BT, past_key_values=repeated, use_cache=True)
        last_B = torch.tensor([len(ids) - 1 for ids in rest])
        states: FloatArray = read.last_hidden_state[torch.arange(len(rest)), last_B].float().numpy()
        return states


def common_beginning(texts: Sequence[list[int]]) -> list[int]:
    """The tokens with which all texts begin."""
    first, last = min(texts), max(texts)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return [token for token, _ in same]


def read_set(
    reader: Reader, questions: Sequence[Question], answers: Sequence[StoredAnswer], title: str
) -> FloatArray:
    """The states of all these answers, [N, H].

    Raises:
        SystemExit: if a prompt has not as many tokens as the recorded one.
    """
    texts = []
    for question, answer in zip(questions, answers, strict=True):
        prompt = reader.prompt_ids(question)
        if len(prompt) != answer.prompt_tokens:
            raise SystemExit(
                f"{question.id}: a prompt of {len(prompt)} tokens, recorded {answer.prompt_tokens}"
            )
        # The last token is sampled from the state of the one before.
        texts.append(prompt + answer.output_ids[:-1])
    shared = common_beginning(texts)[: min(map(len, texts)) - 1]
    cache = reader.begin(shared)
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    states: dict[int, FloatArray] = {}
    progress = Progress(title, len(texts))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        read = reader.last_states(cache, [texts[row][len(shared) :] for row in rows])
        states |= zip(rows, read, strict=True)
        progress(start + len(rows), last=start + len(rows) == len(order))
    return np.array([states[row] for row in range(len(texts))])


def read_model(folder: str, sets: Sequence[str], stored: Sequence[StoredAnswer]) -> None:
    """Read a model's answers to some sets, and keep the states."""
    model = Path(folder).name
    answers = {a.id: a for a in stored if a.model == model and a.temperature == 0.0}
    reader = Reader(folder)
    for name in sets:
        questions = [question for question in question_set(name) if question.id in answers]
        if not questions:
            continue
        title = f"{model}, {name}"
        states_NH = read_set(reader, questions, [answers[q.id] for q in questions], title)
        path = hidden_file(model, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = np.array([question.id for question in questions])
        np.savez_compressed(path, ids=ids, last_NH=states_NH.astype(np.float16))


def main() -> None:
    """Read the recorded answers of the models that are given."""
    parser = argparse.ArgumentParser(description="Read hidden states of recorded answers.")
    for tier in ("small", "large"):
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["short", "reasoning"])
    args = parser.parse_args()
    models = [path for path in (args.small, args.large) if path]
    if not models:
        parser.error("--small or --large is needed: folders of models")
    stored = load_answers()
    for folder in models:
        read_model(folder, args.sets, stored)


if __name__ == "__main__":
    main()
