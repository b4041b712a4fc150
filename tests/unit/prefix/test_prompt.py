"""A long prompt is hashed in parts, and the hashes are the same."""

import asyncio

import pytest

from cascadia_sglang.prefix.block_hashes import block_hashes
from cascadia_sglang.prefix.prompt import LONG_TOKENS, Prompt


def test_others_run_while_a_long_prompt_is_hashed() -> None:
    prompt = Prompt(range(16 * 5_000))
    turns = []

    async def other() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    async def hashed() -> None:
        task = asyncio.create_task(other())
        await prompt.prepare({16})
        task.cancel()

    asyncio.run(hashed())
    # A turn for each of five parts, one before the first, and one after the last.
    assert len(turns) == 6
    assert prompt.hashes(16).tolist() == block_hashes(prompt.token_ids, 16).tolist()


def test_what_was_hashed_is_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Prompt(range(4 * LONG_TOKENS))
    hashes = prompt.hashes(16)
    asyncio.run(prompt.prepare({16, 64}))
    assert prompt.hashes(16) is hashes
    monkeypatch.setattr("cascadia_sglang.prefix.prompt.block_hashes", None)
    assert len(prompt.hashes(64)) == 4 * LONG_TOKENS // 64


def test_ids_that_no_tokenizer_gives_have_no_hashes() -> None:
    prompt = Prompt([-1] * LONG_TOKENS)
    asyncio.run(prompt.prepare({16}))
    assert len(prompt.hashes(16)) == 0


@pytest.mark.parametrize(("tokens", "is_long"), [(LONG_TOKENS - 1, False), (LONG_TOKENS, True)])
def test_only_a_long_prompt_needs_parts(tokens: int, is_long: bool) -> None:
    assert Prompt(range(tokens)).is_long is is_long
