"""AROUND hook on Req._check_str_based_finish: a limit in time on `stop_regex`.

Upstream: searches a client's pattern in what was written so far, after every token, by a search
that backtracks, in the scheduler's own loop.
We need: a search that takes too long to end its request with a 400, and no other request to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.worker.stop_regex_limit import SearchLimit

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req


def _build(_: None) -> Callable[..., bool]:
    limit = SearchLimit()

    def check(original: Callable[..., bool], req: Req, new_accepted_len: int = 1) -> bool:
        patterns = req.sampling_params.stop_regex_strs
        if not patterns:
            return original(req, new_accepted_len)
        is_match = limit.run(req, lambda: original(req, new_accepted_len))
        if _on_any_rank(is_match is None):
            from sglang.srt.managers.schedule_batch import FINISH_ABORT

            message = f"stop_regex {patterns} takes too long to search for"
            req.finished_reason = FINISH_ABORT(message, 400, "BadRequestError")
            req.finished_len = None
            return True
        return bool(is_match)

    return check


def _on_any_rank(is_late: bool) -> bool:
    """Whether one of the group's ranks was late: all of them end the request, or none."""
    from sglang.srt.distributed.parallel_state import get_tp_group

    group = get_tp_group()
    return is_late if group.world_size == 1 else any(group.all_gather_object(is_late))


PATCH = PatchSpec(
    target="sglang.srt.managers.schedule_batch.Req._check_str_based_finish",
    hook_type="around",
    kind="function",
    parameters=("new_accepted_len",),
    build=_build,
    reason="one pattern that backtracks holds a worker for minutes",
    drop_when="SGLang bounds the search for stop_regex in time",
)
