"""The server's parts are all there once it is built, and other Python code reaches it."""

import msgspec

from cascadia_sglang import current_server
from cascadia_sglang.config.settings import PlannerConfig
from cascadia_sglang.server.server import CascadeServer, current, make_current
from cascadia_sglang.testing.engine import make_cascade


def test_a_server_is_complete_once_it_is_built() -> None:
    config = make_cascade("small", "large")
    server = CascadeServer(config, None, {}, {}, is_forking=False)  # type: ignore[arg-type]
    assert server.event_loop is None
    assert server.controller is None
    server.gearbox.set_thresholds([0.5])
    assert server.router.config.routing.thresholds == [0.5]
    make_current(server)
    assert current_server() is server
    assert current is current_server


def test_a_cascade_without_thresholds_calibrates_itself_from_the_start() -> None:
    config = msgspec.structs.replace(
        make_cascade("small", "large", escalation_rate=0.3), planner=PlannerConfig(shadow_rate=0.1)
    )
    server = CascadeServer(config, None, {}, {}, is_forking=False)  # type: ignore[arg-type]
    assert server.self_calibration is not None
    assert server.router.services.shadow.is_labelling
    server.self_calibration.close()
