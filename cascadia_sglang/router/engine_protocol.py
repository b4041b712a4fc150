"""The engine as the router uses it: reads requests, knows the tiers, runs attempts.

Requests and samples are SGLang's own objects, opaque to the router. A request holds prompts; each
prompt is asked in one or more samples.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from cascadia_sglang.messages import AttemptOrder, JudgeReport
from cascadia_sglang.prefix.prompt import Prompt

# An output of SGLang: text, output_ids and meta_info of one sample.
Output = dict[str, Any]


class Refusal(Enum):
    """Why a tier cannot be asked a prompt, whatever its length; the reason of the attempt."""

    OTHER_TOKENIZER = "other_tokenizer"
    OTHER_VOICE = "other_voice"
    TEXT_ONLY = "text_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """An answer in the token ids of another tier.

    Attributes:
        is_exact: whether these ids stand for the very text of the answer.
    """

    token_ids: tuple[int, ...]
    is_exact: bool = True


class WorkerLimits(Protocol):
    """What fits a tier's workers, in tokens."""

    @property
    def context_tokens(self) -> int: ...

    @property
    def input_tokens(self) -> int: ...


class RequestReader(Protocol):
    """Reads requests: their samples, their tokens, and what the client asked for."""

    def split(self, request: Any, pinned_tier: int | None) -> list[list[Any]]:
        """Normalise a request, in place, into its prompts, each a list of single samples.

        Args:
            pinned_tier: that the client chose, in whose tokens the request came; None for the
                first tier's.
        """
        ...

    def refusal(self, sample: Any, tier_index: int) -> Refusal | None:
        """Why a tier cannot be asked this sample; None where it can.

        Token ids mean something to one tokenizer alone.
        """
        ...

    async def tokenise(self, samples: list[Any], tier_index: int) -> int | None:
        """Have a prompt as a tier is asked it, in its own tokens, which is made once.

        Returns:
            Its length; None where that is not known before a worker is asked.

        Raises:
            UnreadablePromptError: if the tier cannot be asked the prompt.
        """
        ...

    def is_tokenised(self, sample: Any, tier_index: int) -> bool:
        """Whether the prompt is known as the tier is asked it."""
        ...

    def prompt_tokens(self, sample: Any, tier_index: int) -> int | None:
        """Length of a prompt in the tier's own tokens; None where not known yet."""
        ...

    def prompt_ids(self, sample: Any) -> Sequence[int] | None:
        """Token ids of a prompt in the first tier's tokens; None where not known yet."""
        ...

    def prompt(self, sample: Any, tier_index: int) -> Prompt | None:
        """A prompt as the prefix caches of a tier know it; None where they keep it apart, or it is
        not known yet."""
        ...

    def asks_alike(self, sample: Any, tier_index: int, other_tier: int) -> bool:
        """Whether two tiers are asked a sample in the same tokens."""
        ...

    def shares_tokens(self, tier_index: int, other_tier: int) -> bool:
        """Whether a token id means the same to two tiers."""
        ...

    async def translated(
        self, token_ids: Sequence[int], from_tier: int, to_tier: int
    ) -> Translation:
        """A tier's answer in the tokens of another one, up to the first that its models may lack.

        What cannot be translated is empty, and not exact.
        """
        ...

    def max_new_tokens(self, sample: Any) -> int | None:
        """Output limit that the client asked for."""
        ...

    def is_scoring(self, sample: Any) -> bool:
        """Whether the sample asks for log-probabilities of its own prompt."""
        ...

    def shape(self, sample: Any) -> str:
        """Lengths and field names of a sample, for a log: nothing of its content."""
        ...


class TierState(Protocol):
    """Knows what each tier can do, and which of its workers are there now."""

    def is_judgeable(self, sample: Any, tier_index: int) -> bool:
        """Whether the tier's judge can rate this sample.

        It cannot where speculative decoding hides the logits, nor for beams. It can for a grammar
        where its calibration knows enough of them.
        """
        ...

    def takes_draft(self, sample: Any, tier_index: int) -> bool:
        """Whether the tier's answer is the same with a smaller tier's draft as without."""
        ...

    async def token_ids(self, text: str, tier_index: int) -> Sequence[int]:
        """The tier's tokens of a text within an answer; empty where its tokenizer fails on it."""
        ...

    def draft_break_even(self, tier_index: int) -> float | None:
        """Share of a draft that the tier must keep for reading it to pay; None while unknown."""
        ...

    def tokens_per_step(self, tier_index: int) -> float | None:
        """Mean number of tokens that a decode step of the tier's workers gave a request.

        It is 1 without speculative decoding, and None before a step.
        """
        ...

    def seconds(self, tier_index: int, prompt: Prompt) -> float | None:
        """Seconds of an attempt on the tier's best worker now; None while that is unknown."""
        ...

    def limits(self, tier_index: int) -> WorkerLimits | None:
        """Token limits of the tier's workers; None while it has none that is ready."""
        ...

    def has_worker(self, tier_index: int) -> bool:
        """Whether an attempt on this tier would find a worker now."""
        ...

    def workers(self, tier_index: int) -> Sequence[str]:
        """Ids of the workers that an attempt on this tier may find now."""
        ...

    def passed_over(self, tier_index: int) -> str | None:
        """Id of a ready worker of a tier that is passed over for its faults; None for none."""
        ...

    def watch_workers(self, changed: Callable[[], None]) -> None:
        """Have this called whenever workers come or go."""
        ...


class AttemptEngine(Protocol):
    """Runs samples on the tiers, each under a rid of its own."""

    def new_rid_base(self) -> str:
        """What the rids of a request's attempts begin with, unique in this server."""
        ...

    @property
    def is_incremental(self) -> bool:
        """Whether a streamed output continues the one before, rather than repeating it."""
        ...

    async def run(self, sample: Any, rid: str, order: AttemptOrder) -> tuple[Output, JudgeReport]:
        """Run one sample to its end on the best worker of the order's tier; cancelling aborts it.

        Raises:
            WorkerUnavailableError: if the tier has no worker.
            OverloadError: if its workers hold as many attempts as they may.
            WorkerLostError: if the worker was lost; another one of the tier may do it.
        """
        ...

    def stream(
        self, sample: Any, rid: str, order: AttemptOrder
    ) -> AsyncGenerator[tuple[Output, JudgeReport], None]:
        """As `run`, with every output on the way; the last has a finish reason."""
        ...

    def abort(self, rid: str) -> None:
        """End a run, which then returns what it has written so far."""
        ...


class Engine(RequestReader, TierState, AttemptEngine, Protocol):
    """The whole engine, as one object implements it."""


def attempt_rid(base: str, number: int) -> str:
    """Rid of the `number`-th run under a base.

    SGLang aborts by prefix, so no rid may begin another: bases are of one length, and so are the
    numbers.
    """
    return f"{base}-{number:06d}"
