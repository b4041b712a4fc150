"""Features of a prompt for the entry model: hashed token n-grams, and the length.

Token ids, because the router has them of every text, chat or not, and a fit can have the same ones:
nothing is tokenised or normalised a second time.

Shape legend: T tokens kept, G n-grams, F distinct buckets.
"""

from collections.abc import Sequence

import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray

# The question stands at the end of a prompt, and a cap keeps the cost of long ones away.
MAX_TOKENS = 2048

# 2^64 over the golden ratio: multiplicative hashing (Knuth, TAOCP vol. 3, section 6.4).
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def prompt_features(
    prompt_ids: Sequence[int], ngrams: int, bits: int
) -> tuple[IntArray, FloatArray, float]:
    """Features of one prompt.

    Args:
        prompt_ids: token ids, 64-bit integers; only the last `MAX_TOKENS` count, but for the
            length. An empty prompt has no buckets.
        ngrams: n-grams of 1 to this many tokens, at least 1.
        bits: there are 2^bits buckets, 1 to 24.

    Returns:
        Distinct buckets [F], rising; their values [F], 1 + ln(occurrences), scaled to length 1 as a
        vector; and ln(1 + tokens of the whole prompt).

    Raises:
        OverflowError: if an id needs more than 64 bits.
    """
    ids_T = np.array(prompt_ids[-MAX_TOKENS:], dtype=np.int64).view(np.uint64)
    parts = []
    hash_G = np.zeros(len(ids_T), dtype=np.uint64)
    for n in range(1, min(ngrams, len(ids_T)) + 1):
        # The hash of an n-gram goes on from that of its first n - 1 tokens.
        hash_G = (hash_G[: len(ids_T) - n + 1] + ids_T[n - 1 :] + np.uint64(n)) * _MULTIPLIER
        hash_G ^= hash_G >> _HALF
        parts.append((hash_G * _MULTIPLIER) >> np.uint64(64 - bits))
    log_tokens = float(np.log1p(len(prompt_ids)))
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0), log_tokens
    buckets_F, counts_F = np.unique(np.concatenate(parts).astype(np.int64), return_counts=True)
    values_F = 1.0 + np.log(counts_F)
    return buckets_F, values_F / np.sqrt(values_F @ values_F), log_tokens
