"""Which tiers of a cascade calibrate themselves, and how many answers are labelled for it."""

from cascadia_sglang.config.escalation import ranked_tiers
from cascadia_sglang.config.settings import CascadeConfig

# Share of the accepted answers that the last tier is asked about, where nothing else is said.
DEFAULT_LABEL_RATE = 0.02


def self_calibrated_tiers(config: CascadeConfig) -> frozenset[int]:
    """Tier indices that begin ranked and are calibrated on the server's own traffic."""
    if config.calibration == "off" or _given_rate(config) == 0.0:
        return frozenset()
    return ranked_tiers(config)


def label_rate(config: CascadeConfig) -> float:
    """Share of the answers accepted below the last tier that the last tier is asked about."""
    configured = _given_rate(config)
    if configured is not None:
        return configured
    return DEFAULT_LABEL_RATE if self_calibrated_tiers(config) else 0.0


def label_problems(config: CascadeConfig) -> list[str]:
    """Everything that is wrong with what the cascade file says of labels, a line each."""
    problems = []
    label, shadow = config.judge.label_rate, config.planner.shadow_rate
    if label is not None and shadow is not None and label != shadow:
        problems.append(
            f"judge.label_rate is {label} and planner.shadow_rate is {shadow}; they are two names "
            "of one setting, allowed: one of them, or the same"
        )
    return problems


def _given_rate(config: CascadeConfig) -> float | None:
    label = config.judge.label_rate
    return config.planner.shadow_rate if label is None else label
