"""A router by a logistic regression on hashed n-grams: an entry model of this project, alone.

Example:
    python -m bench.rivals.fronts.ngrams --port 31000 --model ngrams.json \
        --tier http://127.0.0.1:31001=0.9 --tier http://127.0.0.1:31002=0.95 \
        --tier http://127.0.0.1:31003=-inf
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.rivals.fronts.router import BoolArray, Chances, serve_by
from cascadia_sglang.entry.fit import fit_entry_model
from cascadia_sglang.entry.model import EntryModel, EntryScorer, save_entry_model
from demo.tasks.tokenizer import encode_prompt

DEMO = Path("demo/entry.json")  # whose n-grams these are too


def load(path: Path) -> Chances:
    """Chances by a fitted model."""
    scorer = EntryScorer(msgspec.json.decode(path.read_bytes(), type=EntryModel))
    return lambda prompt: scorer.chances(encode_prompt(prompt))


def fit(prompts: Sequence[str], right_HN: BoolArray, path: Path) -> None:
    """Fit a model and write it."""
    demo = msgspec.json.decode(DEMO.read_bytes(), type=EntryModel)
    model = fit_entry_model(
        [encode_prompt(prompt) for prompt in prompts],
        right_HN,
        # Of these follows where a cascade would begin, which is not used here.
        [1.0] * len(demo.tiers),
        tiers=demo.tiers,
        vocabulary=demo.vocabulary,
        ngrams=demo.ngrams,
        bits=demo.bits,
    )
    save_entry_model(model, path)


if __name__ == "__main__":
    serve_by(load, __doc__)
