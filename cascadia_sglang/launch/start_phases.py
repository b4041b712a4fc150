"""Where the seconds of a worker's start went."""

from collections.abc import Iterable, Mapping
from typing import Any

from sglang.srt.observability.startup_time import aggregate_scheduler_startup_times

PHASES = ("process", "scheduler", "weights", "kv_pool", "graphs")


def start_phases(
    seconds: float, startup_times: Iterable[Mapping[str, Any] | None]
) -> dict[str, float]:
    """Seconds of each of `PHASES`; together they are the whole start, unless SGLang's overlap.

    `process` is what passes before SGLang's scheduler begins: the fork, the imports that the fork
    server lacks, the judge, and at the start of the server the wait for the fork server itself.
    `scheduler` is what that does beside the three phases that follow.

    Args:
        seconds: from asking for the process to its being ready.
        startup_times: SGLang's own account, one a rank; of each phase the slowest rank counts.
    """
    startup_s = aggregate_scheduler_startup_times(startup_times)
    scheduler_s = min(seconds, startup_s["scheduler_e2e"])
    phases_s = {
        "weights": startup_s["load_weight"],
        "kv_pool": startup_s["kv_cache_allocation"],
        "graphs": sum(startup_s["cuda_graph"].values()),
    }
    rest_s = max(0.0, scheduler_s - sum(phases_s.values()))
    return {"process": seconds - scheduler_s, "scheduler": rest_s, **phases_s}
