"""A router by a small transformer encoder, trained from scratch.

Example:
    python -m bench.rivals.fronts.encoder --port 31000 --model encoder.pt \
        --tier http://127.0.0.1:31001=0.9 --tier http://127.0.0.1:31002=0.95 \
        --tier http://127.0.0.1:31003=-inf
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bench.entry.encoder import Encoder, encoder_chances, fit_encoder
from bench.rivals.fronts.router import BoolArray, Chances, router_settings, serve_by
from demo.tasks.tokenizer import build_tokenizer, encode_prompt


def load(path: Path) -> Chances:
    """Chances by a trained encoder."""
    weights, judged = torch.load(path)
    model = Encoder(len(build_tokenizer().get_vocab()), judged)
    model.load_state_dict(weights)
    return lambda prompt: encoder_chances(model, [encode_prompt(prompt)])[:, 0]


def fit(prompts: Sequence[str], right_HN: BoolArray, path: Path) -> None:
    """Train an encoder and write it."""
    vocabulary = len(build_tokenizer().get_vocab())
    model = fit_encoder([encode_prompt(prompt) for prompt in prompts], right_HN, vocabulary, seed=0)
    torch.save((model.state_dict(), len(right_HN)), path)


if __name__ == "__main__":
    options = router_settings(__doc__).parse_args()
    serve_by(load(options.model), options.tier, options.port)
