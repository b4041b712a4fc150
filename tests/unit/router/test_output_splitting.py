"""Outputs of several tokens, cut into pieces of one."""

from typing import Any

import pytest

from cascadia_sglang.router.engine_protocol import Output
from cascadia_sglang.router.output_splitting import Pieces

# Tokens by id: with a part of a character in two of them, and a special one that has no text.
TOKENS = [b"", b"Let", b" me", b" see", b" \xf0\x9f", b"\x98\x80", b"!", b"<end>"]
SPECIAL = 7


def decode(ids: list[int]) -> str:
    pieces = [TOKENS[token] for token in ids if token != SPECIAL]
    return b"".join(pieces).decode(errors="replace")


def make_output(ids: list[int], text: str, finish: dict[str, Any] | None = None) -> Output:
    return {
        "text": text,
        "output_ids": ids,
        "meta_info": {
            "id": "caller",
            "finish_reason": finish,
            "completion_tokens": len(ids),
            "output_token_logprobs": [(-0.5, token, None) for token in ids],
            "output_token_logprobs_length": len(ids),
        },
    }


STOP = {"type": "stop", "matched": 7}
WHOLE = make_output([1, 2, 3, 4, 5, 6, 7], "Let me see \N{GRINNING FACE}!", STOP)


def cut(*outputs: Output, is_incremental: bool = False) -> list[Output]:
    pieces = Pieces(decode, is_incremental)
    return [piece for output in outputs for piece in pieces.of(output)]


def test_a_whole_answer_leaves_token_by_token() -> None:
    got = cut(WHOLE)
    assert [piece["text"] for piece in got] == [
        "Let",
        "Let me",
        "Let me see",
        "Let me see \N{GRINNING FACE}",
        "Let me see \N{GRINNING FACE}!",
        "Let me see \N{GRINNING FACE}!",
    ]
    assert [piece["meta_info"]["completion_tokens"] for piece in got] == [1, 2, 3, 5, 6, 7]
    assert [piece["meta_info"]["finish_reason"] for piece in got] == [None] * 5 + [STOP]
    assert got[-1] is WHOLE
    for piece in got:
        tokens = piece["meta_info"]["completion_tokens"]
        assert piece["output_ids"] == WHOLE["output_ids"][:tokens]
        assert piece["meta_info"]["output_token_logprobs_length"] == tokens
        assert len(piece["meta_info"]["output_token_logprobs"]) == tokens


def test_outputs_that_continue_one_another_are_cut_into_such() -> None:
    first = make_output([1, 2], "Let me")
    rest = make_output([3, 4, 5, 6, 7], " see \N{GRINNING FACE}!", STOP)
    rest["meta_info"] |= {"completion_tokens": 7, "output_token_logprobs_length": 7}
    got = cut(first, rest, is_incremental=True)
    assert [piece["text"] for piece in got] == ["Let", " me", " see", " \N{GRINNING FACE}", "!", ""]
    assert [piece["output_ids"] for piece in got] == [[1], [2], [3], [4, 5], [6], [7]]
    assert [piece["meta_info"]["completion_tokens"] for piece in got] == [1, 2, 3, 5, 6, 7]
    assert [len(piece["meta_info"]["output_token_logprobs"]) for piece in got] == [1, 1, 1, 2, 1, 1]


def test_what_was_held_is_cut_and_what_follows_leaves_as_it_comes() -> None:
    held = make_output([1, 2, 3], "Let me see")
    then = make_output([1, 2, 3, 6], "Let me see!", STOP)
    got = cut(held, then)
    assert [piece["text"] for piece in got] == ["Let", "Let me", "Let me see", "Let me see!"]
    assert got[2] is held
    assert got[3] is then


def test_an_output_without_a_new_token_passes() -> None:
    first, again = make_output([1, 2], "Let me"), make_output([1, 2], "Let me", STOP)
    assert [piece["text"] for piece in cut(first, again)] == ["Let", "Let me", "Let me"]


def test_a_list_that_the_engine_still_writes_into_is_read_no_further() -> None:
    output = make_output([1, 2, 3], "Let me")
    output["meta_info"]["completion_tokens"] = 2
    assert [piece["text"] for piece in cut(output)] == ["Let", "Let me"]


@pytest.mark.parametrize("is_incremental", [False, True])
def test_a_text_cut_at_a_stop_string_is_kept(is_incremental: bool) -> None:
    got = cut(make_output([1, 2, 3], "Let m", STOP), is_incremental=is_incremental)
    assert [piece["text"] for piece in got] == ["Let", "Let m" if not is_incremental else " m"]
    assert got[-1]["meta_info"]["finish_reason"] == STOP


def test_a_space_that_only_the_engine_sees_is_kept() -> None:
    """The engine decodes behind the prompt, where the first token may begin with a space."""
    got = cut(make_output([1, 2, 6], " Let me!", STOP))
    assert [piece["text"] for piece in got] == [" Let", " Let me", " Let me!"]


def test_a_text_that_the_tokens_do_not_explain_leaves_whole() -> None:
    output = make_output([1, 2, 3], "something else", STOP)
    assert cut(output) == [output]


def test_an_aborted_output_is_not_cut() -> None:
    output = make_output([1, 2, 3], "Let me see", {"type": "abort", "message": "stopped"})
    assert cut(output) == [output]


def test_samples_are_cut_apart() -> None:
    first, second = {**WHOLE, "index": 0}, {**WHOLE, "index": 1}
    got = cut(first, second)
    assert [piece["index"] for piece in got] == [0] * 6 + [1] * 6
    assert got[0]["text"] == got[6]["text"] == "Let"
