"""The share of requests that escalates, where no thresholds are fixed."""

from cascadia_sglang.config.settings import CascadeConfig

# Share of all requests that reach the last tier where nothing else is asked for.
DEFAULT_RATE = 0.3


def keeps_rate(config: CascadeConfig) -> bool:
    """Whether thresholds follow a rate, rather than being fixed."""
    return not config.routing.thresholds and len(config.tiers) > 1


def escalation_rates(config: CascadeConfig) -> list[float]:
    """Of each tier but the last: the share of its own requests that is to climb.

    Nobody uses it where thresholds are fixed.
    """
    configured, lower = config.routing.escalation_rate, len(config.tiers) - 1
    if isinstance(configured, list):
        return configured
    rate = DEFAULT_RATE if configured is None else configured
    return [rate ** (1.0 / lower)] * lower if lower > 0 else []


def ranked_tiers(config: CascadeConfig) -> frozenset[int]:
    """Tier indices that the built-in rank scores: below the last, judged, and not calibrated.

    Fixed thresholds are compared with calibrated scores alone, so there no tier is ranked.
    """
    if not keeps_rate(config):
        return frozenset()
    judged = [i for i, tier in enumerate(config.tiers[:-1]) if not tier.hides_logits]
    return frozenset(i for i in judged if config.tiers[i].calibration is None)
