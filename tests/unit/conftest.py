"""The same examples on every run, however slow the machine."""

import os

from hypothesis import HealthCheck, settings

# `tests.unit.fuzz.long` sets the variable: it wants other examples each time.
is_derandomized = "FUZZ_EXAMPLES" not in os.environ
settings.register_profile(
    "project",
    deadline=None,
    derandomize=is_derandomized,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")
