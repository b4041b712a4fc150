"""A router by a logistic regression on hashed n-grams: an entry model of this project, alone.

Example:
    python -m bench.rivals.fronts.ngrams --port 31000 --model ngrams.json \
        --tier http://127.0.0.1:31001=0.9 --tier http://127.0.0.1:31002=0.95 \
        --tier http://127.0.0.1:31003=-inf
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.rivals.fronts.router import BoolArray, Chances, router_settings, serve_by
from cascadia_sglang.entry.fit import fit_entry_model
from cascadia_sglang.entry.model import (
    EntryModel,
    EntryScorer,
    save_entry_model,
    vocabulary_fingerprint,
)
from demo.tasks.tokenizer import encode_prompt

DEMO = Path("demo/entry.json")  # whose n-grams the demo's are too
# Of real models, whose tokens are parts of words.
NGRAMS, BITS = 2, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How prompts are read.

    Attributes:
        encode: gives a prompt's token ids.
        vocabulary: names the tokenizer, as an entry model does.
        ngrams, bits: of the features.
    """

    encode: Callable[[str], Sequence[int]]
    vocabulary: str
    ngrams: int
    bits: int


def reading_of(tokenizer: Path | None) -> Reading:
    """With the tokenizer in a model's folder; None for the demo's."""
    if tokenizer is None:
        demo = msgspec.json.decode(DEMO.read_bytes(), type=EntryModel)
        return Reading(
            encode=encode_prompt,
            vocabulary=demo.vocabulary,
            ngrams=demo.ngrams,
            bits=demo.bits,
        )
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    return Reading(
        encode=lambda prompt: list(loaded(prompt)["input_ids"]),
        vocabulary=vocabulary_fingerprint(loaded.get_vocab()),
        ngrams=NGRAMS,
        bits=BITS,
    )


def load(path: Path, tokenizer: Path | None = None) -> Chances:
    """Chances by a fitted model; `tokenizer` as `reading_of` has it."""
    scorer = EntryScorer(msgspec.json.decode(path.read_bytes(), type=EntryModel))
    reading = reading_of(tokenizer)
    return lambda prompt: scorer.chances(reading.encode(prompt))


def fit(
    prompts: Sequence[str], right_HN: BoolArray, path: Path, tokenizer: Path | None = None
) -> None:
    """Fit a model and write it; `tokenizer` as `reading_of` has it."""
    reading = reading_of(tokenizer)
    names = [str(tier) for tier in range(len(right_HN) + 1)]
    model = fit_entry_model(
        [reading.encode(prompt) for prompt in prompts],
        right_HN,
        # Of these follows where a cascade would begin, which is not used here.
        [1.0] * len(names),
        tiers=names,
        vocabulary=reading.vocabulary,
        ngrams=reading.ngrams,
        bits=reading.bits,
    )
    save_entry_model(model, path)


if __name__ == "__main__":
    parser = router_settings(__doc__)
    parser.add_argument("--tokenizer", type=Path, help="folder of a model; the demo's without it")
    options = parser.parse_args()
    serve_by(load(options.model, options.tokenizer), options.tier, options.port)
