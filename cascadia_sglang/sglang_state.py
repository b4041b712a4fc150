"""The attributes that the cascade adds to SGLang's own objects, each with its type and its owner.

State of a request lives on SGLang's request: it comes and goes with it, through retraction, chunked
prefill and overlap. No other module adds an attribute to an object of SGLang.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from cascadia_sglang.drafts.followed_draft import FollowedDraft
    from cascadia_sglang.drafts.session import DraftSession
    from cascadia_sglang.engine.prompt_forms import PromptForms, PromptSource
    from cascadia_sglang.judge.attempt import JudgedAttempt
    from cascadia_sglang.messages import WorkerSpec
    from cascadia_sglang.prefix.prompt import Prompt
    from cascadia_sglang.router.request import ResponseSummary

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Slot(Generic[Value]):
    """One attribute that is ours on an object of SGLang."""

    name: str

    def get(self, holder: object) -> Value | None:
        """The value on an object; None where it was not set."""
        value: Value | None = getattr(holder, self.name, None)
        return value

    def expect(self, holder: object) -> Value:
        """The value on an object that has one; AttributeError where it was not set."""
        value: Value = getattr(holder, self.name)
        return value

    def is_set(self, holder: object) -> bool:
        return hasattr(holder, self.name)

    def set(self, holder: object, value: Value) -> None:
        setattr(holder, self.name, value)


# On a worker's `ServerArgs`: crosses with it into the worker's process.
WORKER_SPEC: Slot[WorkerSpec] = Slot("_cascadia")

# On a `GenerateReqInput` of the main process: its prompt, so that tiers share the hashes.
PROMPT: Slot[Prompt | None] = Slot("_cascadia_prompt")

# On one: the chat that SGLang made it of. In a cascade of several voices alone, as the next four.
CHAT_SOURCE: Slot[PromptSource] = Slot("_cascadia_chat")

# On one, and on its samples: the prompt in the voices that it was asked in.
FORMS: Slot[PromptForms] = Slot("_cascadia_forms")

# On one: the tier in whose voice its prompt came, where no tier is pinned and it is not the first.
ASKED_TIER: Slot[int] = Slot("_cascadia_asked_tier")

# On one: whether only tiers of the voice that wrote its prompt may be asked.
VOICE_BOUND: Slot[bool] = Slot("_cascadia_voice_bound")

# On one: its outputs, where they were begun before SGLang's handler asks for them.
OUTPUTS: Slot[AsyncIterator[Any]] = Slot("_cascadia_outputs")

# On one: what it came to, which tells who answers.
SUMMARY: Slot[ResponseSummary] = Slot("_cascadia_summary")

# On a worker's `Req`: what the judge knows of it; None where it is not judged.
JUDGED_ATTEMPT: Slot[JudgedAttempt | None] = Slot("_cascadia_attempt")

# On a worker's `Req`: the draft that it began with.
DRAFT_READING: Slot[DraftSession] = Slot("_cascadia_draft")

# On a worker's `Req`: the draft that its speculation follows; None where it came without one.
FOLLOWED_DRAFT: Slot[FollowedDraft | None] = Slot("_cascadia_followed_draft")

# On a worker's `Req`: seconds that its slow searches for `stop_regex` took so far.
SPENT_SEARCH_S: Slot[float] = Slot("_cascadia_slow_search_s")

# On a worker's grammar object: whether it came to a place where no token is allowed.
DEAD_END: Slot[bool] = Slot("_cascadia_dead_end")

# On a parser of tool calls in the main process: whether it is inside an array of calls.
IN_ARRAY: Slot[bool] = Slot("_cascadia_in_array")
