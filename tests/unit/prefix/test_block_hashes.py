"""Block hashes are those that SGLang publishes."""

import hashlib
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.prefix.block_hashes import (
    block_digests,
    block_hashes,
    hash_parts,
    joined_hashes,
)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=70), st.integers(1, 20))
def test_a_hash_is_of_the_block_and_all_before_it(ids: list[int], size: int) -> None:
    expected, before = [], b""
    for start in range(0, len(ids) // size * size, size):
        words = struct.pack(f"<{size}I", *ids[start : start + size])
        before = hashlib.sha256(before + words).digest()
        expected.append(struct.unpack(">q", before[:8])[0])
    assert block_hashes(ids, size).tolist() == expected


def test_equal_prefixes_have_equal_hashes_and_others_do_not() -> None:
    ids, other_ids = list(range(64)), [*range(40), 999, *range(41, 64)]
    same = block_hashes(ids, 16) == block_hashes(other_ids, 16)
    assert same.tolist() == [True, True, False, False]


def test_parts_are_short_and_together_all_hashes() -> None:
    ids = list(range(2_500 * 4 + 3))
    parts = list(hash_parts(ids, 4))
    assert [len(part) for part in parts] == [1_024, 1_024, 452]
    assert joined_hashes(parts).tolist() == block_hashes(ids, 4).tolist()


@pytest.mark.parametrize(("size", "blocks"), [(1, 1_024), (128, 128), (256, 64), (1 << 15, 1)])
def test_a_part_is_short_however_large_a_block_is(size: int, blocks: int) -> None:
    ids = list(range(1 << 17))
    parts = list(hash_parts(ids, size))
    assert {len(part) for part in parts} == {blocks}
    digests = [digest[:8] for digest in block_digests(ids, size)]
    assert joined_hashes(parts).tolist() == [struct.unpack(">q", d)[0] for d in digests]


@pytest.mark.parametrize("wrong", [-1, 2**32, "a"])
def test_a_prompt_has_the_hashes_before_an_id_that_no_tokenizer_gives(wrong: object) -> None:
    ids: list = [*range(1 << 14), *range(15), wrong]
    assert block_hashes(ids, 16).tolist() == block_hashes(ids[: 1 << 14], 16).tolist()


@pytest.mark.parametrize("ids", [[-1] * 16, [2**32] * 16, [2**70] * 16, ["a"] * 16])
def test_ids_that_no_tokenizer_gives_have_no_hashes(ids: list) -> None:
    assert len(block_hashes(ids, 16)) == 0


@pytest.mark.skipif(
    shutil.which("g++") is None or not Path("/usr/include/openssl/sha.h").exists(),
    reason="SGLang's own hash is compiled when it is first used",
)
def test_sglangs_own_function_gives_the_same() -> None:
    from sglang.srt.mem_cache.utils import get_hash_str, hash_str_to_int64

    ids = np.random.default_rng(0).integers(0, 150_000, 100).tolist()
    digests = [digest.hex() for digest in block_digests(ids, 16)]
    assert digests == get_hash_str(ids, None, page_size=16)
    assert digests[3:] == get_hash_str(ids[48:], digests[2], page_size=16)
    # Of the last, which is not whole, there is no block.
    assert block_hashes(ids, 16).tolist() == [
        hash_str_to_int64(block_digest) for block_digest in digests[:-1]
    ]
