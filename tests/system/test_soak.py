"""The soak in its short form: a minute of mixed requests, with each kind of process struck once."""

from pathlib import Path

import pytest

from bench.soak.faults import FIRST
from bench.soak.mix import KINDS, MODES, ROUTES, SPECULATIVE, TIERS
from bench.soak.run import SMOKE, SMOKE_PROMPTS, run
from tests.system.serving import free_port

pytestmark = [pytest.mark.sglang, pytest.mark.slow, pytest.mark.timeout(420)]


def test_each_request_ends_once_and_rightly_and_nothing_is_left(tmp_path: Path) -> None:
    tally = run(free_port(), tmp_path, SMOKE, SMOKE_PROMPTS)
    assert tally.faults_found() == [], tally.examples
    assert tally.routes.keys() == ROUTES.keys()
    assert tally.kinds.keys() == KINDS.keys()
    assert tally.modes.keys() == {"whole", *MODES}
    assert tally.tiers.keys() == {*TIERS}
    assert tally.tiers[SPECULATIVE] > 0.1 * tally.tiers.total()
    assert {name.rpartition(" ")[0] for name in tally.faults} == {target for target, _ in FIRST}
    assert tally.ends["answered"] > tally.requests / 2
    assert tally.compared > tally.requests / 4
    assert tally.moves > 0
