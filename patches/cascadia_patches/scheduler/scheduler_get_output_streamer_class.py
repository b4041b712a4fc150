"""AROUND hook on Scheduler.get_output_streamer_class: put the worker's reports into the output.

Upstream: returns the class whose `build_additional_customized_info` fills `meta_info`.
We need: a subclass of it that adds what the judge, and the reader of drafts, say of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req
    from sglang.srt.managers.scheduler import Scheduler


class Reporter(Protocol):
    """Says something of a worker's requests."""

    def reports(self, requests: Sequence[Req], /) -> list[list[dict[str, Any]]]:
        """One list a request, with its newest report last; empty where there is nothing to say."""
        ...


def _build(reporters: Mapping[str, Reporter]) -> Callable[..., type]:
    """`reporters` by the key in `meta_info` under which each reports."""

    def get_output_streamer_class(original: Callable[..., type], scheduler: Scheduler) -> type:
        base: Any = original(scheduler)

        class JudgedOutputStreamer(base):  # type: ignore[misc]
            has_additional_customized_info: ClassVar[bool] = True
            __slots__ = ()

            def build_additional_customized_info(self, reqs: list[Req]) -> dict[str, list[Any]]:
                reports_by_key = {
                    key: reporter.reports(reqs) for key, reporter in reporters.items()
                }
                return {key: reports for key, reports in reports_by_key.items() if any(reports)}

            def is_request_level_customized_info_key(self, key: str) -> bool:
                return key in reporters

        return JudgedOutputStreamer

    return get_output_streamer_class


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler.get_output_streamer_class",
    hook_type="around",
    kind="function",
    parameters=(),
    build=_build,
    reason="the score travels with the answer, not beside it",
    drop_when="SGLang lets a sampling observer add to meta_info",
)
