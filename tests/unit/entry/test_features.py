"""What the entry model sees of a prompt."""

import math
from collections import Counter

import numpy as np
import pytest

from cascadia_sglang.entry.features import MAX_TOKENS, prompt_features

BITS = 24  # so many that no two n-grams of these prompts fall together


def values_by_count(prompt: list[int], ngrams: int) -> list[float]:
    """Values of a prompt's n-grams, counted one by one, sorted."""
    grams = Counter(
        tuple(prompt[i : i + n]) for n in range(1, ngrams + 1) for i in range(len(prompt) - n + 1)
    )
    raw = [1 + math.log(count) for count in grams.values()]
    length = math.sqrt(sum(value * value for value in raw))
    return sorted(value / length for value in raw)


@pytest.mark.parametrize("ngrams", [1, 2, 3, 5])
@pytest.mark.parametrize("prompt", [[7], [7, 7], [1, 2, 3, 1, 2, 3, 1], list(range(60))])
def test_every_ngram_has_a_bucket_with_its_damped_count(prompt: list[int], ngrams: int) -> None:
    buckets_F, values_F, log_tokens = prompt_features(prompt, ngrams, BITS)
    np.testing.assert_allclose(np.sort(values_F), values_by_count(prompt, ngrams), rtol=1e-12)
    assert (np.diff(buckets_F) > 0).all()
    assert buckets_F[0] >= 0
    assert buckets_F[-1] < 1 << BITS
    assert log_tokens == pytest.approx(math.log(1 + len(prompt)))


def test_an_empty_prompt_has_no_buckets() -> None:
    buckets_F, values_F, log_tokens = prompt_features([], 3, BITS)
    assert (len(buckets_F), len(values_F), log_tokens) == (0, 0, 0.0)


def test_the_order_of_tokens_counts() -> None:
    forward, backward = (set(prompt_features(ids, 2, BITS)[0]) for ids in ([1, 2, 3], [3, 2, 1]))
    assert len(forward & backward) == 3  # the three single tokens


def test_only_the_end_of_a_long_prompt_counts_but_for_its_length() -> None:
    tail = np.random.default_rng(0).integers(0, 1000, MAX_TOKENS).tolist()
    short, long = prompt_features(tail, 2, BITS), prompt_features([5] * 100_000 + tail, 2, BITS)
    np.testing.assert_array_equal(short[0], long[0])
    np.testing.assert_array_equal(short[1], long[1])
    assert long[2] == pytest.approx(math.log(1 + 100_000 + MAX_TOKENS))


def test_buckets_are_filled_evenly() -> None:
    """Consecutive ids, as vocabularies have them, must not share buckets."""
    buckets = [int(prompt_features([i], 1, 10)[0][0]) for i in range(10_240)]
    filled = np.bincount(buckets, minlength=1024)
    assert filled.min() > 0
    assert filled.max() < 40


def test_an_id_beyond_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        prompt_features([1 << 70], 2, BITS)
