"""Which tiers' scores may count a probe of the hidden state."""

from cascadia_sglang.config.settings import CascadeConfig


def tiers_for_probes(config: CascadeConfig) -> frozenset[int]:
    """Indices of the tiers that may have a probe.

    The last tier's score decides nothing. A tier with speculative decoding shows no hidden states.
    A tier that reads drafts shows those of the draft.
    """
    below = range(len(config.tiers) - 1)
    reads_drafts = config.drafts().use != "off"
    return frozenset(
        index
        for index in below
        if config.tiers[index].speculation is None and not (reads_drafts and index > 0)
    )


def hidden_recording_tiers(config: CascadeConfig) -> frozenset[int]:
    """Indices of the tiers whose records hold a hidden state."""
    return tiers_for_probes(config) if config.judge.record_hidden else frozenset()
