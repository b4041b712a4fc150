"""The routers that the bench compares: how much each prompt needs the strong model.

Shape legend: N prompts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.entry.encoder import encoder_chances, fit_encoder
from bench.entry.sets import VOCABULARY, RoutingSet, encode, train_tokenizer
from cascadia_sglang.entry.fit import fit_entry_model
from cascadia_sglang.entry.model import EntryScorer, vocabulary_fingerprint

FloatArray = npt.NDArray[np.float64]

NGRAMS, BITS = 2, 16
# Dollars per million tokens that the paper counts (section 5.4). The last is of no model: with it,
# the chances of both models are fitted. No curve depends on them.
COSTS = (0.24, 24.7, 1000.0)
SERVED = "entry model"
DIFFERENCE = "entry model, both chances"
ENCODER_SERVED = "encoder"
ENCODER_DIFFERENCE = "encoder, both chances"
LENGTH = "length alone"


def entry_needs(fit: RoutingSet, test: RoutingSet, seed: int) -> dict[str, FloatArray]:
    """Needs [N] of the test prompts by the entry model.

    The served need is that of the weak model's chance alone; the other is by how much the strong
    model's chance is greater. Nothing in the fit is random.
    """
    del seed
    tokenizer = train_tokenizer(fit.prompts)
    model = fit_entry_model(
        encode(tokenizer, fit.prompts),
        fit.right_2N,
        COSTS,
        tiers=["weak", "strong", "none"],
        vocabulary=vocabulary_fingerprint(tokenizer.get_vocab()),
        ngrams=NGRAMS,
        bits=BITS,
    )
    scorer = EntryScorer(model)
    prompts = encode(tokenizer, test.prompts)
    chances_2N = np.array([scorer.chances(ids) for ids in prompts]).T
    return {
        SERVED: 1 - chances_2N[0],
        DIFFERENCE: chances_2N[1] - chances_2N[0],
        LENGTH: np.array([float(len(ids)) for ids in prompts]),
    }


def encoder_needs(fit: RoutingSet, test: RoutingSet, seed: int) -> dict[str, FloatArray]:
    """The same by the encoder."""
    tokenizer = train_tokenizer(fit.prompts)
    model = fit_encoder(encode(tokenizer, fit.prompts), fit.right_2N, VOCABULARY, seed)
    chances_2N = encoder_chances(model, encode(tokenizer, test.prompts))
    return {
        ENCODER_SERVED: 1 - chances_2N[0],
        ENCODER_DIFFERENCE: chances_2N[1] - chances_2N[0],
    }
