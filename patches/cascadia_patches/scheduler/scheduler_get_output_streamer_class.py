"""AROUND hook on Scheduler.get_output_streamer_class: put the worker's reports into the output.

Upstream: returns the class whose `build_additional_customized_info` fills `meta_info`.
We need: a subclass of it that adds what the judge, and the reader of drafts, say of a request.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from cascadia_patches.spec import PatchSpec


def _build(reporters: Mapping[str, Any]) -> Callable[..., type]:
    """`reporters` by the key in `meta_info` under which each reports."""

    def get_output_streamer_class(original: Callable[..., type], scheduler: Any) -> type:
        base: Any = original(scheduler)

        class JudgedOutputStreamer(base):  # type: ignore[misc]
            has_additional_customized_info: ClassVar[bool] = True
            __slots__ = ()

            def build_additional_customized_info(self, reqs: list[Any]) -> dict[str, list[Any]]:
                found = {key: one.reports(reqs) for key, one in reporters.items()}
                return {key: reports for key, reports in found.items() if any(reports)}

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
