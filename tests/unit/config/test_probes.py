"""Which tiers may have a probe, and which record hidden states for one."""

from typing import Any

import pytest

from cascadia_sglang.config.cascade_file import build_cascade
from cascadia_sglang.config.probes import hidden_recording_tiers, tiers_for_probes
from cascadia_sglang.errors import ConfigError

NGRAM = {
    "speculative_algorithm": "NGRAM",
    "speculative_num_draft_tokens": 4,
    "disable_overlap_schedule": True,
}


NAMES = ("small", "middle", "large")


def cascade(
    drafts: str = "off",
    judge: dict[str, Any] | None = None,
    models: tuple[str, ...] = NAMES,
    **flags: dict[str, Any],
):
    """Three tiers, some with flags of their own."""
    tiers = [
        {"name": name, "model_path": f"demo/models/{model}", "server_args": flags.get(name, {})}
        for name, model in zip(NAMES, models, strict=True)
    ]
    routing = {"escalation_rate": 0.3, "drafts": drafts}
    recording = {"record": True, **(judge or {})}
    data = {"version": 1, "tiers": tiers, "routing": routing, "judge": recording}
    return build_cascade(data, "here")


@pytest.mark.parametrize(
    ("drafts", "flags", "expected"),
    [
        ("off", {}, {0, 1}),
        ("on", {}, {0}),
        ("auto", {}, {0}),
        ("off", {"small": NGRAM}, {1}),
        ("on", {"small": NGRAM}, set()),
    ],
)
def test_tiers_below_the_last_that_show_the_states_of_their_own_answers(
    drafts: str, flags: dict[str, Any], expected: set[int]
) -> None:
    assert tiers_for_probes(cascade(drafts, **flags)) == expected


@pytest.mark.parametrize(
    ("drafts", "models", "expected"),
    [
        ("off", ("small", "small", "large"), {0, 1}),
        ("on", ("small", "small", "large"), set()),
        ("on", ("small", "large", "small"), set()),
        ("on", ("small", "large", "large"), {0}),
    ],
)
def test_a_tier_whose_workers_read_drafts_for_another_has_no_probe(
    drafts: str, models: tuple[str, ...], expected: set[int]
) -> None:
    """Workers that keep hidden states read no drafts: a second judge would have nothing to fit."""
    assert tiers_for_probes(cascade(drafts, models=models)) == expected


def test_only_a_cascade_that_records_hidden_states_has_tiers_that_do() -> None:
    assert hidden_recording_tiers(cascade()) == set()
    assert hidden_recording_tiers(cascade(judge={"record_hidden": True})) == {0, 1}


def test_hidden_states_without_a_record_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"judge\.record_hidden needs judge\.record"):
        cascade(judge={"record": False, "record_hidden": True})
