"""A cascade server that asks for one more worker of each tier, in turn, once it serves.

Where tiers have standbys, all of them wait by then. For each worker it prints a line: ADDED, then
as JSON the pool, the seconds, and those of its start's phases.
"""

import asyncio
import json
import os
import sys
import threading
import time

import msgspec
from sglang.launch_server import run_server
from sglang.srt.plugins import load_plugins
from sglang.srt.server_args import prepare_server_args
from sglang.srt.utils import kill_process_tree

ADDED = "ADDED "


def add_workers() -> None:
    from cascadia_sglang import current_server
    from cascadia_sglang.capacity.service_placement import capacity_of

    server = current_server()
    while (loop := server.event_loop) is None:
        time.sleep(0.2)
    standbys = sum(tier.standby for tier in server.config.tiers)
    while [worker.state.value for worker in server.pool].count("standby") < standbys:
        time.sleep(0.2)
    for pool, capacity in capacity_of(server.mover.running()).items():
        started = time.monotonic()
        larger = msgspec.structs.replace(capacity, replicas=capacity.replicas + 1)
        asyncio.run_coroutine_threadsafe(server.mover.move({pool: larger}), loop).result(60)
        seconds = time.monotonic() - started
        serving = [worker for worker in server.pool.ready() if worker.handle.pool.name == pool]
        worker = max(serving, key=lambda candidate: candidate.handle.started)
        report = {"pool": pool, "seconds": seconds, "phases": worker.handle.phases}
        print(ADDED + json.dumps(report), flush=True)


if __name__ == "__main__":
    load_plugins()
    server_args = prepare_server_args(sys.argv[1:])
    threading.Thread(target=add_workers, daemon=True).start()
    try:
        run_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
