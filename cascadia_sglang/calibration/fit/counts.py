"""Counts of right answers of a cascade, and bounds on the rate."""

from dataclasses import dataclass

from cascadia_sglang.binomial_bounds import lower_bound, upper_bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Prompts by the cascade's answers and the last tier's; fractions where they are expected.

    Attributes:
        right: that the cascade answers right.
        lost, gained: that the last tier alone answers right, that the cascade alone does.
    """

    prompts: float
    right: float
    lost: float
    gained: float

    def quality_low(self, error: float) -> float:
        """Lower bound on the quality that holds but for a chance of `error`."""
        return lower_bound(self.right, self.prompts, error)

    def loss_high(self, error: float) -> float:
        """Upper bound on the loss beside the last tier; half of the error for each side."""
        lost_high = upper_bound(self.lost, self.prompts, error / 2)
        return lost_high - lower_bound(self.gained, self.prompts, error / 2)

    def scaled(self, prompts: float) -> "Counts":
        """The same rates on so many prompts."""
        factor = prompts / self.prompts
        return Counts(
            prompts=prompts,
            right=self.right * factor,
            lost=self.lost * factor,
            gained=self.gained * factor,
        )

    def __add__(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            prompts=self.prompts + other.prompts,
            right=self.right + other.right,
            lost=self.lost + other.lost,
            gained=self.gained + other.gained,
        )
