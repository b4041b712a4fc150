"""AROUND hook on Scheduler.get_output_streamer_class: put the judge's report into the output.

Upstream: returns the class whose `build_additional_customized_info` fills `meta_info`.
We need: a subclass of it that adds one report to the last output of every judged request.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from cascadia_patches.registry import PatchSpec


def _build(judge: Any) -> Callable[..., type]:
    def get_output_streamer_class(original: Callable[..., type], scheduler: Any) -> type:
        from cascadia_sglang.messages import REPORT_KEY

        base: Any = original(scheduler)

        class JudgedOutputStreamer(base):  # type: ignore[misc]
            has_additional_customized_info: ClassVar[bool] = True
            __slots__ = ()

            def build_additional_customized_info(self, reqs: list[Any]) -> dict[str, list[Any]]:
                reports = judge.reports(reqs)
                return {REPORT_KEY: reports} if any(reports) else {}

            def is_request_level_customized_info_key(self, key: str) -> bool:
                return key == REPORT_KEY

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
