"""Which tiers' scores may count a probe of the hidden state."""

from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig


def tiers_for_probes(config: CascadeConfig) -> frozenset[int]:
    """Indices of the tiers that may have a probe.

    The last tier's score decides nothing. A tier with speculative decoding shows no hidden states.
    A worker that reads drafts shows those of the draft; it may serve several tiers.
    """
    reads_drafts = config.drafts().use != "off"
    last = len(config.tiers) - 1
    return frozenset(
        index
        for pool in pool_specs(config)
        for index in pool.tiers
        if index < last
        and config.tiers[index].speculation is None
        # Every tier but the first reads drafts.
        and not (reads_drafts and max(pool.tiers) > 0)
    )


def hidden_recording_tiers(config: CascadeConfig) -> frozenset[int]:
    """Indices of the tiers whose records hold a hidden state."""
    return tiers_for_probes(config) if config.judge.record_hidden else frozenset()
