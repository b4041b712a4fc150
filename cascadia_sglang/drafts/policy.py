"""Decides which drafts a tier reads, by the share of tokens that it kept before.

Reading a draft costs the prefill of its tokens; what is kept of it needs no decoding. It pays where
the share that is kept is above what a prefilled token costs over what a decoded one does.
"""

from dataclasses import dataclass

from cascadia_sglang.config.routing_settings import DraftsConfig

# Of the drafts that would not be worth it, one of so many is read: what is kept may have changed.
EXPLORE = 32
# What a tier is taken to keep before anything is known counts like so many tokens.
PRIOR_TOKENS = 256.0
PRIOR_SHARE = 0.5
# How many tokens count: older ones fade.
MEMORY_TOKENS = 16384.0


@dataclass(slots=True, kw_only=True)
class DraftCounts:
    """Of one tier.

    Attributes:
        read: drafts; `verified` of them are its answer whole, `confirmed` of these because the
            second judge says so.
        read_tokens: of these drafts; `kept_tokens` of them are in its answers.
        left: drafts that were not read because that would not have paid.
        break_even: the share that had to be kept when the last draft came; None while unknown.
    """

    read: int = 0
    verified: int = 0
    confirmed: int = 0
    read_tokens: int = 0
    kept_tokens: int = 0
    left: int = 0
    break_even: float | None = None


class DraftPolicy:
    """Decides what is read, and learns from what was."""

    def __init__(self, config: DraftsConfig, tiers: int) -> None:
        self.counts = [DraftCounts() for _ in range(tiers)]
        self._config = config
        self._tokens = [PRIOR_TOKENS] * tiers
        self._kept = [PRIOR_TOKENS * PRIOR_SHARE] * tiers

    @property
    def is_on(self) -> bool:
        """Whether any draft is ever read."""
        return self._config.use != "off"

    def is_worth_reading(
        self, tier_index: int, score: float | None, break_even: float | None
    ) -> bool:
        """Whether the tier is to read a draft.

        Args:
            score: of the draft; None where it has none.
            break_even: the share of a draft that must be kept for reading it to pay; None where
                that is not known.
        """
        counts = self.counts[tier_index]
        counts.break_even = break_even
        if score is not None and score < self._config.low:
            return False
        if self._config.use == "on" or break_even is None:
            return True
        if self._kept[tier_index] > break_even * self._tokens[tier_index]:
            return True
        counts.left += 1
        return counts.left % EXPLORE == 0

    def learn(
        self, tier_index: int, tokens: int, kept_tokens: int, confirmed: bool = False
    ) -> None:
        """Learn how many tokens of a draft the tier kept, and whether the second judge had it."""
        counts = self.counts[tier_index]
        counts.read += 1
        counts.verified += kept_tokens == tokens
        counts.confirmed += confirmed
        counts.read_tokens += tokens
        counts.kept_tokens += kept_tokens
        fade = max(0.0, 1.0 - tokens / MEMORY_TOKENS)
        self._tokens[tier_index] = self._tokens[tier_index] * fade + tokens
        self._kept[tier_index] = self._kept[tier_index] * fade + kept_tokens
