"""What a scrape shows after requests, starts and losses."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os
from cascadia_sglang.messages import DraftReport
from cascadia_sglang.metrics import Metrics, forget_gauges
from cascadia_sglang.router.attempt import Attempt

metrics = Metrics(["small", "large"])
weak = Attempt(tier_index=0, score=0.4, tokens=7, seconds=0.1, escalated=True)
weak.reason = "below_threshold"
good = Attempt(tier_index=1, tokens=5, draft=DraftReport(kept=3), seconds=0.2, reason="last_tier")
metrics.answered([weak, good], good, 0.3, 0.25)
metrics.failed([weak], 504)
metrics.shadowed(0, "agreed")
metrics.worker_started("small", {"process": 0.5, "weights": 2.0})
metrics.worker_started("small", None)
metrics.show_workers({("small", "ready"): 2})
metrics.show_workers({("small", "ready"): 1, ("large", "starting"): 1})

from prometheus_client import CollectorRegistry, generate_latest, multiprocess

def scrape():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry).decode()

print(scrape())
forget_gauges([os.getpid()])
print("=== later")
print(scrape())
"""


def test_requests_attempts_and_workers_are_counted(tmp_path: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
    ).stdout
    now, _, later = out.partition("=== later")
    for line in (
        'cascadia:requests_total{reason="last_tier",tier="large"} 1.0',
        'cascadia:requests_total{reason="error_504",tier="none"} 1.0',
        'cascadia:escalations_total{from_tier="small",reason="below_threshold"} 2.0',
        'cascadia:shadow_total{outcome="agreed",tier="small"} 1.0',
        'cascadia:tokens_total{kind="answered",tier="large"} 5.0',
        'cascadia:tokens_total{kind="discarded",tier="small"} 14.0',
        'cascadia:verify_kept_tokens_total{tier="large"} 3.0',
        'cascadia:score_bucket{le="0.35",tier="small"} 0.0',
        'cascadia:score_bucket{le="0.4",tier="small"} 2.0',
        'cascadia:attempt_seconds_count{tier="large"} 1.0',
        'cascadia:request_seconds_sum{tier="large"} 0.3',
        'cascadia:ttft_seconds_sum{tier="large"} 0.25',
        'cascadia:worker_starts_total{outcome="failed",tier="small"} 1.0',
        'cascadia:worker_start_seconds_sum{tier="small"} 2.5',
        'cascadia:worker_start_phase_seconds_total{phase="weights",tier="small"} 2.0',
        'cascadia:workers{state="ready",tier="small"} 1.0',
        'cascadia:workers{state="starting",tier="large"} 1.0',
    ):
        assert line in now
    assert "cascadia:workers{" not in later
    assert "cascadia:requests_total{" in later
