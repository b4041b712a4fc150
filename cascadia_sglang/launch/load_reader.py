"""The load of a worker, read from the shared memory into which its scheduler writes it."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from cascadia_sglang.prefix.speed import PublishedLoad

if TYPE_CHECKING:
    from sglang.srt.managers.load_snapshot import LoadSnapshot, ShmLoadSnapshotReader


def published_load(reader: ShmLoadSnapshotReader) -> PublishedLoad | None:
    """A worker's load for the choice of one; None where it has written none, or is writing.

    Never blocks: it is read on the event loop.
    """
    if not reader._attach():
        return None
    try:
        fcntl.flock(reader.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    try:
        snapshot: LoadSnapshot | None = reader._read_slot(0)
    finally:
        fcntl.flock(reader.fd, fcntl.LOCK_UN)
    if snapshot is None or not snapshot.max_running_requests:
        return None
    moments = snapshot.decode_moments or [0.0] * 6
    return PublishedLoad(
        at_s=snapshot.timestamp,
        running=snapshot.num_running_reqs,
        waiting=snapshot.num_waiting_reqs,
        waiting_tokens=snapshot.num_waiting_uncached_tokens,
        max_running=snapshot.max_running_requests,
        prefilled_tokens=snapshot.total_prefill_uncached_tokens,
        prefill_us=snapshot.total_prefill_busy_us,
        decode_moments=tuple(moments),
        used_tokens=snapshot.num_used_tokens,
        total_tokens=snapshot.max_total_num_tokens,
    )
