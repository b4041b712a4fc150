"""A prompt goes one way through the router: through few modules, and into its climb once."""

import sys
from dataclasses import fields, is_dataclass
from types import FrameType
from typing import Any

import pytest

from cascadia_sglang.config.routing_settings import VerifyConfig
from cascadia_sglang.testing.engine import FakeEngine, make_cascade, make_request
from tests.unit.router.asking import GOOD, WEAK, ask

CASCADE = make_cascade("small", "large", verify=VerifyConfig(enabled=True))
ROUTER = "cascadia_sglang.router."
ENGINE = "cascadia_sglang.testing.engine"


class Path:
    """The modules that are handed a prompt's samples, until the engine runs one of them."""

    def __init__(self, samples: list[Any]) -> None:
        self._samples = (samples, *samples)
        self._frames: list[FrameType] = []  # kept, so that no other frame gets an id of theirs
        self._seen: set[int] = set()
        self._is_over = False
        self.entries: list[tuple[str, str]] = []  # the module, and the router's that called it

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        # A coroutine that goes on is called once more; a dataclass's own methods are no module's.
        is_generated = frame.f_code.co_filename == "<string>"
        if event != "call" or self._is_over or is_generated or id(frame) in self._seen:
            return
        self._seen.add(id(frame))
        self._frames.append(frame)
        module = frame.f_globals.get("__name__", "")
        if not module.startswith((ROUTER, ENGINE)) or not any(map(self._holds, _given(frame))):
            return
        caller = frame.f_back
        while caller is not None and not _module(caller).startswith(ROUTER):
            caller = caller.f_back
        self.entries.append((module, "" if caller is None else _module(caller)))
        self._is_over = module == ENGINE and frame.f_code.co_name in ("run", "stream")

    def _holds(self, value: Any, depth: int = 2) -> bool:
        """Whether it is the samples, or an object of the router's that has them."""
        if any(value is sample for sample in self._samples):
            return True
        if depth == 0 or not type(value).__module__.startswith(ROUTER):
            return False
        inner = list(vars(value).values()) if hasattr(value, "__dict__") else []
        if is_dataclass(value):
            inner += [getattr(value, field.name, None) for field in fields(value)]
        return any(self._holds(field_value, depth - 1) for field_value in inner)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _given(frame: FrameType) -> list[Any]:
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return [frame.f_locals[name] for name in names if name in frame.f_locals]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_passes_at_most_eight_modules_and_enters_the_climb_once(stream: bool) -> None:
    request = make_request(stream=stream)
    path = Path(request.prompts[0])
    sys.setprofile(path)
    try:
        answer = ask(FakeEngine(WEAK, GOOD), CASCADE, request)
    finally:
        sys.setprofile(None)
    assert answer.error is None
    modules = {module for module, _ in path.entries}
    assert {f"{ROUTER}cascade", f"{ROUTER}climb", f"{ROUTER}attempt_runner", ENGINE} <= modules
    assert len(modules) <= 8, sorted(modules)
    climb = f"{ROUTER}climb"
    assert [caller for module, caller in path.entries if module == climb != caller] == [
        f"{ROUTER}cascade"
    ]
