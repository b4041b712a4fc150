"""The score model and the threshold of each tier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from cascadia_sglang.config.escalation import escalation_rates, ranked_tiers
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError, RequestError
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.feedback.running_quantile import WINDOW, RunningQuantile, spread

# Scores that stand in for the first ones of a tier that starts with a calibration. They leave as
# real ones come, for the traffic is hardly ever distributed as the sample was.
SEEDS = 20


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """What scores a tier's answers.

    Attributes:
        calibration: path of a calibration file; None for what the tier's workers started with.
        is_calibrated: whether a score is a probability; else it is a rank, or there is none.
    """

    calibration: str | None
    is_calibrated: bool


class TierScoring:
    """Owns every tier's source of scores, and the thresholds: fixed, or kept to a rate."""

    def __init__(
        self,
        config: CascadeConfig,
        calibrations: Mapping[int, Calibration] = MappingProxyType({}),
    ) -> None:
        """`calibrations` are those of the tier indices that start with one."""
        self._names = [tier.name for tier in config.tiers]
        self._started_ranked = ranked_tiers(config)
        self._ranked = set(self._started_ranked)
        self._judged = self._ranked | set(config.calibrations())
        self._sources = [
            ScoreSource(None, is_calibrated=tier in config.calibrations())
            for tier in range(len(config.tiers))
        ]
        # Those whose judge tells the chance of acceptance before an answer's end.
        self._telling_early = {
            tier for tier, calibration in calibrations.items() if calibration.prefix
        }
        judging = {
            tier for tier, calibration in calibrations.items() if calibration.judges_constrained
        }
        # The tiers that judge answers under a grammar; the engine looks here.
        self.judges_constrained = set(self._started_ranked | judging)
        self._fixed = config.routing.thresholds or None
        self._quantiles = [
            RunningQuantile(rate, _seeds(calibrations.get(tier), SEEDS), seed=tier)
            for tier, rate in enumerate(escalation_rates(config))
        ]

    @property
    def keeps_rate(self) -> bool:
        """Whether the thresholds follow a rate, rather than being fixed."""
        return self._fixed is None

    def source(self, tier: int) -> ScoreSource:
        """What scores the answers of a tier index now."""
        return self._sources[tier]

    def is_judged(self, tier: int) -> bool:
        """Whether the answers of a tier index have a score at all."""
        return tier in self._judged

    def is_ranked(self, tier: int) -> bool:
        """Whether a score of a tier index is a rank."""
        return tier in self._ranked

    def tells_early(self, tier: int) -> bool:
        """Whether a tier index has a judge that tells the chance of acceptance on the way."""
        return tier in self._telling_early

    def is_calibrated(self, order: AttemptOrder) -> bool:
        """Whether the score of an attempt with this order is a probability."""
        return order.calibration is not None or order.tier_index not in self._started_ranked

    def rate(self, tier: int) -> float | None:
        """The share that is asked for of a tier's requests to climb; None where none is."""
        return self._quantiles[tier].rate if self.keeps_rate and self._is_below(tier) else None

    def recent_rate(self, tier: int) -> float | None:
        """The share of a tier's last requests that climbed; None where no rate is kept."""
        if not self.keeps_rate or not self._is_below(tier):
            return None
        return self._quantiles[tier].recent_rate

    def threshold(self, tier: int) -> float | None:
        """The score from which a tier's answers are accepted now; None of the last tier."""
        if not self._is_below(tier):
            return None
        if self._fixed is not None:
            return self._fixed[tier]
        return self._quantiles[tier].threshold

    def threshold_for(self, order: AttemptOrder, score: float | None) -> float:
        """The threshold for a finished answer of the cascade's own way.

        A fixed one is the one that the order was given, and so is that of an answer whose source
        was replaced meanwhile.
        """
        is_current = self._sources[order.tier_index].calibration == order.calibration
        if not self.keeps_rate or score is None or not is_current:
            return order.threshold
        return self._quantiles[order.tier_index].threshold_for(score)

    def note(
        self,
        tier: int,
        score: float | None,
        *,
        climbed: bool,
        early_abort: bool = False,
        calibration: str | None = None,
    ) -> None:
        """Take in a finished answer of the cascade's own way.

        One without a score, because no judge could rate it, changes nothing.

        Args:
            early_abort: whether the judge ended it; its score is none then.
            calibration: that scored it. A score of a source that was replaced changes nothing.
        """
        is_current = self._sources[tier].calibration == calibration
        if not self._is_below(tier) or not is_current or (score is None and not early_abort):
            return
        self._quantiles[tier].note(None if early_abort else score, climbed)

    def replace(self, tier: int, path: str, calibration: Calibration) -> None:
        """Score a tier's answers by another calibration file from now on.

        Requests on their way keep the source that they began with.
        """
        self._sources[tier] = ScoreSource(path, is_calibrated=True)
        self._ranked.discard(tier)
        self._judged.add(tier)
        _put(self.judges_constrained, tier, calibration.judges_constrained)
        _put(self._telling_early, tier, bool(calibration.prefix))
        if self._is_below(tier):
            self._quantiles[tier].reseed(_seeds(calibration, WINDOW))

    def fix(self, thresholds: Sequence[float]) -> None:
        """Use fixed thresholds from now on.

        Raises:
            ConfigError: where a tier is ranked, as no fixed number means anything there.
        """
        self.check_calibrated("thresholds are compared with")
        self._fixed = list(thresholds)

    def check_own_threshold(self, controls: Controls) -> None:
        """Refuse a request's own threshold where it would be compared with ranks alone.

        Raises:
            RequestError: 400, that says why.
        """
        below = range(len(self._names) - 1 if controls.max_tier is None else controls.max_tier)
        if controls.threshold is None or controls.tier is not None or not below:
            return
        if all(self.is_ranked(tier) for tier in below):
            header = "x-cascadia-threshold"
            raise RequestError(
                400,
                f"header {header} is compared with calibrated scores, and this cascade has none "
                "yet: its answers are ranked, and a share of them escalates",
                header,
            )

    def check_calibrated(self, what: str) -> None:
        """Raise ConfigError, one line that begins with `what`, where a tier is ranked."""
        if self._ranked:
            names = ", ".join(self._names[tier] for tier in sorted(self._ranked))
            raise ConfigError(
                f"{what} calibrated scores, and {names} has no calibration: its answers are "
                "ranked, and routing.escalation_rate decides how many escalate"
            )

    def _is_below(self, tier: int) -> bool:
        return tier < len(self._names) - 1


def _put(tiers: set[int], tier: int, is_in: bool) -> None:
    """Have a tier index in a set, or not."""
    (tiers.add if is_in else tiers.discard)(tier)


def _seeds(calibration: Calibration | None, count: int) -> list[float]:
    return [] if calibration is None else spread(calibration.score_quantiles, count)
