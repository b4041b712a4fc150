"""Requests to a scripted engine: prompts, each with its samples."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class FakeSample:
    """One sample of one prompt.

    Attributes:
        prompt_tokens: of the prompt; `tokens_of` has those of further tokenizers, by number.
        bears_ids: whether token ids of the first tokenizer are in it.
        unreadable: tiers that cannot be asked it.
    """

    rid: str
    text: str
    prompt_tokens: int | None = 10
    tokens_of: Mapping[int, int] = field(default_factory=dict)
    bears_ids: bool = False
    unreadable: frozenset[int] = frozenset()
    made: set[int] = field(default_factory=set)  # numbers of the tokenizers that it was made for
    max_new_tokens: int | None = None
    judgeable: bool | frozenset[int] = True  # or the tiers that can judge it
    takes_draft: bool = True
    scoring: bool = False


@dataclass(slots=True, kw_only=True)
class FakeRequest:
    """A client's request: prompts, each with its samples."""

    prompts: list[list[FakeSample]]
    is_single: bool
    stream: bool = False


def make_request(
    *texts: str, rid: str = "caller", samples: int = 1, stream: bool = False, **sample: Any
) -> FakeRequest:
    """A request of one sample under `rid`, or of several under `rid_0`, `rid_1` and so on.

    Args:
        texts: one prompt each; one prompt "question" where none is given.
        samples: of each prompt.
        sample: further fields of `FakeSample`.
    """
    texts = texts or ("question",)
    is_single = len(texts) == 1 and samples == 1
    numbers = itertools.count()
    return FakeRequest(
        prompts=[
            [
                FakeSample(rid=rid if is_single else f"{rid}_{next(numbers)}", text=text, **sample)
                for _ in range(samples)
            ]
            for text in texts
        ],
        is_single=is_single,
        stream=stream,
    )
