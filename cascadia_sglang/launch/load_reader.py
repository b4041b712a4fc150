"""The load of a worker, as its scheduler publishes it: on this host in shared memory."""

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
    return None if snapshot is None else load_of(snapshot, at_s=snapshot.timestamp)


def load_of(snapshot: LoadSnapshot, *, at_s: float) -> PublishedLoad | None:
    """What a scheduler's snapshot says of its load; None of one that it wrote before it served.

    Args:
        at_s: when that was so, on this host's clock, in seconds.
    """
    if not snapshot.max_running_requests:
        return None
    moments = snapshot.decode_moments or [0.0] * 6
    return PublishedLoad(
        at_s=at_s,
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
