"""A cascade server that asks for one more worker of its first tier once it serves."""

import asyncio
import gc
import os
import sys
import threading
import time

import msgspec
from sglang.launch_server import run_server
from sglang.srt.plugins import load_plugins
from sglang.srt.server_args import prepare_server_args
from sglang.srt.utils import kill_process_tree


def add_worker() -> None:
    from cascadia_sglang.reallocation.target import capacity_of
    from cascadia_sglang.server import CascadeServer

    server = next(found for found in gc.get_objects() if isinstance(found, CascadeServer))
    while server.door.manager is None or server.door.manager.event_loop is None:
        time.sleep(0.2)
    loop = server.door.manager.event_loop
    started = time.monotonic()
    capacity = capacity_of(server.mover.running())["small"]
    more = msgspec.structs.replace(capacity, replicas=capacity.replicas + 1)
    asyncio.run_coroutine_threadsafe(server.mover.move({"small": more}), loop).result(60)
    print(f"added a worker in {time.monotonic() - started:.2f} s", flush=True)


if __name__ == "__main__":
    load_plugins()
    server_args = prepare_server_args(sys.argv[1:])
    threading.Thread(target=add_worker, daemon=True).start()
    try:
        run_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
