"""A cascade server that asks for one more worker of each tier, in turn, once it serves.

For each it prints a line: ADDED, then as JSON the pool, the seconds, and those of the phases.
"""

import asyncio
import gc
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
    from cascadia_sglang.reallocation.target import capacity_of
    from cascadia_sglang.server import CascadeServer

    server = next(found for found in gc.get_objects() if isinstance(found, CascadeServer))
    while server.door.manager is None or server.door.manager.event_loop is None:
        time.sleep(0.2)
    loop = server.door.manager.event_loop
    for pool, capacity in capacity_of(server.mover.running()).items():
        started = time.monotonic()
        more = msgspec.structs.replace(capacity, replicas=capacity.replicas + 1)
        asyncio.run_coroutine_threadsafe(server.mover.move({pool: more}), loop).result(60)
        seconds = time.monotonic() - started
        worker = [one for one in server.fleet.pool if one.handle.pool.name == pool][-1]
        told = {"pool": pool, "seconds": seconds, "phases": worker.handle.phases}
        print(ADDED + json.dumps(told), flush=True)


if __name__ == "__main__":
    load_plugins()
    server_args = prepare_server_args(sys.argv[1:])
    threading.Thread(target=add_workers, daemon=True).start()
    try:
        run_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
