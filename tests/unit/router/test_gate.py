"""Held outputs of several samples leave once."""

import asyncio
from typing import Any

from cascadia_sglang.router.stream import Gate, Sink


def output(text: str) -> dict[str, Any]:
    return {"text": text, "output_ids": [ord(character) for character in text], "meta_info": {}}


def test_a_sample_that_ends_before_another_commits_leaves_once() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    gate = Gate(Sink(queue, 0), ["first", "second"], is_incremental=True)
    gate.take(0, output("ab"), True)
    whole = gate.whole(0, output("c"))
    gate.take(1, output("d"), True)
    sent = [queue.get_nowait() for _ in range(queue.qsize())]
    assert whole["text"] == "abc"
    assert [(item["index"], item["text"]) for item in sent] == [(1, "d")]
