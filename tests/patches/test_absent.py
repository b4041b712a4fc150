"""What SGLang lacks on a host is given, and what it has is left alone."""

import sys
from types import ModuleType

import pytest

from cascadia_patches.absent import fill_absent, provide_module
from cascadia_sglang.errors import PatchError


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("some_upstream")
    vars(module).update(lacking=None, present=max)
    monkeypatch.setitem(sys.modules, "some_upstream", module)
    return module


def test_a_name_that_is_none_is_filled(owner: ModuleType) -> None:
    fill_absent("some_upstream.lacking", min)
    assert vars(owner)["lacking"] is min


def test_a_name_that_has_a_value_keeps_it(owner: ModuleType) -> None:
    fill_absent("some_upstream.present", min)
    assert vars(owner)["present"] is max


@pytest.mark.parametrize("target", ["some_upstream.gone", "no_such_module.lacking"])
@pytest.mark.usefixtures("owner")
def test_a_name_that_does_not_exist_is_an_error(target: str) -> None:
    with pytest.raises(PatchError, match=f"{target} does not exist in this SGLang"):
        fill_absent(target, min)


def test_a_module_that_cannot_be_imported_is_provided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    provide_module("cascadia_no_such_module", answer=42)
    from cascadia_no_such_module import answer  # type: ignore[import-not-found]

    assert answer == 42


def test_a_module_that_can_be_imported_is_left_alone() -> None:
    import json.tool

    provide_module("json.tool", main=None)
    assert json.tool.main is not None
