"""Speculative decoding of a tier: by which algorithm, and whether its answers can be judged."""

from collections.abc import Mapping
from typing import Any

import msgspec

# Algorithms whose verification shows the logits of the tokens that it accepts, by SGLang's names.
JUDGED_ALGORITHMS = ("EAGLE", "EAGLE3", "NEXTN", "STANDALONE", "FROZEN_KV_MTP", "NGRAM")

# With a value below 1, a verification accepts tokens that the model itself would not write.
_LAX_FLAGS = ("speculative_accept_threshold_single", "speculative_accept_threshold_acc")


class Speculation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a tier decodes speculatively."""

    algorithm: str
    """SGLang's name of the algorithm, in capitals."""
    draft_tokens: int | None = None
    """Tokens that a step verifies. null: SGLang chooses their number."""

    @property
    def is_judged(self) -> bool:
        return self.algorithm in JUDGED_ALGORITHMS

    def __str__(self) -> str:
        drafts = "" if self.draft_tokens is None else f", {self.draft_tokens} draft tokens"
        return f"{self.algorithm}{drafts}"


def speculation_of(server_args: Mapping[str, Any]) -> Speculation | None:
    """Of a tier with these flags of SGLang; None without speculative decoding."""
    algorithm = server_args.get("speculative_algorithm")
    if algorithm is None:
        return None
    return Speculation(
        algorithm=str(algorithm).upper(),
        draft_tokens=server_args.get("speculative_num_draft_tokens"),
    )


def judged_problems(server_args: Mapping[str, Any]) -> list[str]:
    """Why the answers of a speculative tier with these flags could not be judged, a line each."""
    problems = [
        f"{flag} is {server_args[flag]}, allowed beside a judge: 1"
        for flag in _LAX_FLAGS
        if server_args.get(flag) not in (None, 1.0)
    ]
    stages = server_args.get("pp_size")
    if stages not in (None, 1):
        problems.append(f"pp_size is {stages}, allowed beside a judge and speculative decoding: 1")
    return problems
