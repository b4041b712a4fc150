"""Cuts an output that holds several new tokens into outputs of one token each.

SGLang's tool parsers read text as a model writes it, token by token. An answer that was held back,
a draft that was kept, several tokens of one step: all of these leave the engine as one output.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cascadia_sglang.router.engine_protocol import Output

Decode = Callable[[list[int]], str]

# Lists of `meta_info` with one entry a token.
_TOKEN_LISTS = {
    "output_token_logprobs",
    "output_top_logprobs",
    "output_token_ids_logprobs",
    "output_token_sampling_mask",
    "output_token_sampling_logprobs",
}
# Their lengths, counted from the first token of the answer.
_TOKEN_COUNTS = {"output_token_logprobs_length", "output_token_sampling_mask_length"}
_SPARE_CHARS = 2
_REPLACEMENT = "\ufffd"


class _Mark(NamedTuple):
    """A place in an answer, counted from its begin."""

    tokens: int
    chars: int


_START = _Mark(0, 0)


@dataclass(slots=True)
class _Sample:
    """What of a sample's answer has gone out.

    Attributes:
        ids: all tokens.
        text_chars: length of the text, in characters.
        begin, end: the tokens that the next ones are decoded with, as indices of `ids`.
    """

    ids: list[int] = field(default_factory=list)
    text_chars: int = 0
    begin: int = 0
    end: int = 0

    def text_of_next(self, token: int, decode: Decode) -> str:
        """Take one more token; the text that it completes, empty for a part of a character."""
        self.ids.append(token)
        text_before = decode(self.ids[self.begin : self.end])
        text = decode(self.ids[self.begin :])[len(text_before) :]
        if not text or text.endswith(_REPLACEMENT):
            return ""
        self.begin, self.end = self.end, len(self.ids)
        return text


class Pieces:
    """Cuts the outputs of one streamed request.

    The pieces of an output join to exactly its text, tokens and log-probabilities; the last one
    has its finish reason. A token whose text is not in the output's, such as a special token that
    SGLang leaves out, goes with the next one.
    """

    def __init__(self, decode: Decode, is_incremental: bool) -> None:
        """`decode` gives the text of tokens as the request's sampling parameters ask for it.

        `is_incremental` says whether an output continues the one before, rather than repeating it.
        """
        self._decode = decode
        self._is_incremental = is_incremental
        self._samples: dict[int, _Sample] = {}

    def of(self, output: Output) -> Iterator[Output]:
        """The pieces of an output; of one without several new tokens the output itself."""
        sample = self._samples.setdefault(output.get("index", 0), _Sample())
        new_ids = self._new_ids(output, sample)
        sent = _Mark(len(sample.ids), sample.text_chars)
        text: str = output.get("text") or ""
        new_text = text if self._is_incremental else text[sent.chars :]
        sample.text_chars += len(new_text)
        if len(new_ids) < 2 or _is_aborted(output):
            for token in new_ids:
                sample.text_of_next(token, self._decode)
            yield output
            return
        begin = sent
        for mark in _places(sample, new_ids, new_text, sent, self._decode):
            yield self._piece(output, sent, begin, mark)
            begin = mark
        yield self._rest(output, sent, begin)

    def _new_ids(self, output: Output, sample: _Sample) -> list[int]:
        ids: list[int] = output.get("output_ids") or []
        if self._is_incremental:
            return ids
        # SGLang goes on writing into the list of an output that is not the last.
        return ids[len(sample.ids) : output["meta_info"].get("completion_tokens", len(ids))]

    def _piece(self, output: Output, sent: _Mark, begin: _Mark, end: _Mark) -> Output:
        """What lies between two places of an output that begins at `sent`."""
        meta_info = {**output["meta_info"], "finish_reason": None, "completion_tokens": end.tokens}
        for key in _TOKEN_COUNTS & meta_info.keys():
            meta_info[key] = end.tokens
        base = sent if self._is_incremental else _START
        first = begin if self._is_incremental else _START
        tokens = slice(first.tokens - base.tokens, end.tokens - base.tokens)
        for key in _TOKEN_LISTS & meta_info.keys():
            meta_info[key] = meta_info[key][tokens]
        return {
            **output,
            "text": output["text"][first.chars - base.chars : end.chars - base.chars],
            "output_ids": output["output_ids"][tokens],
            "meta_info": meta_info,
        }

    def _rest(self, output: Output, sent: _Mark, begin: _Mark) -> Output:
        """What lies behind the last place; the output itself where it repeats the ones before."""
        if not self._is_incremental:
            return output
        tokens = slice(begin.tokens - sent.tokens, None)
        meta_info = dict(output["meta_info"])
        for key in _TOKEN_LISTS & meta_info.keys():
            meta_info[key] = meta_info[key][tokens]
        return {
            **output,
            "text": output["text"][begin.chars - sent.chars :],
            "output_ids": output["output_ids"][tokens],
            "meta_info": meta_info,
        }


def _places(
    sample: _Sample, new_ids: list[int], new_text: str, sent: _Mark, decode: Decode
) -> Iterator[_Mark]:
    """Where an output may be cut: behind the tokens whose text is found, but for the last one."""
    chars = 0
    for count, token in enumerate(new_ids, 1):
        text = sample.text_of_next(token, decode)
        if count == len(new_ids) or not text:
            continue
        # Some tokenizers leave out a space where they do not know what was before.
        start = new_text.find(text, chars, chars + len(text) + _SPARE_CHARS)
        if start >= 0:
            chars = start + len(text)
            yield _Mark(sent.tokens + count, sent.chars + chars)


def _is_aborted(output: Output) -> bool:
    """Whether an output repeats tokens that are out already, as SGLang's do when it aborts."""
    return (output["meta_info"].get("finish_reason") or {}).get("type") == "abort"
