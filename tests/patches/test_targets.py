"""What the patches ask of SGLang is there in the installed release, read without importing it."""

import inspect

import pytest

from cascadia_patches import registry
from cascadia_patches.registry import load_patch
from cascadia_patches.spec import PatchSpec
from tests.patches.upstream import Target, find

NAMES = registry.ALL_PATCHES

every_patch = pytest.mark.parametrize("patch", [load_patch(name) for name in NAMES], ids=NAMES)


def target_of(patch: PatchSpec) -> Target:
    target = find(patch.target)
    assert target is not None, f"{patch.target} does not exist in this SGLang"
    return target


@every_patch
def test_the_target_exists_and_is_of_the_recorded_kind(patch: PatchSpec) -> None:
    assert target_of(patch).kind == patch.kind


@every_patch
def test_the_target_takes_the_recorded_parameters_in_their_order(patch: PatchSpec) -> None:
    found = target_of(patch).parameters
    assert [name for name in found if name in patch.parameters] == list(patch.parameters)


def hook_parameters(patch: PatchSpec) -> list[inspect.Parameter]:
    """What a patch's hook takes of the target's own arguments."""
    parameters = list(inspect.signature(patch.build(None)).parameters.values())
    leading = 0 if patch.hook_type == "before" else 1
    is_bound = patch.target.split(".")[-2][:1].isupper() and patch.kind != "staticmethod"
    return parameters[leading + is_bound :]


@every_patch
def test_a_hook_takes_the_targets_arguments_in_the_targets_order(patch: PatchSpec) -> None:
    """A hook gets them as SGLang's callers give them, mostly by position."""
    taken = [p for p in hook_parameters(patch) if p.kind is p.POSITIONAL_OR_KEYWORD]
    names = [parameter.name.removeprefix("_") for parameter in taken]
    assert names == target_of(patch).parameters[: len(names)]


@every_patch
def test_a_hook_takes_every_argument_that_the_target_takes(patch: PatchSpec) -> None:
    parameters = hook_parameters(patch)
    takes_more = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    assert takes_more or len(parameters) == len(target_of(patch).parameters)


@every_patch
def test_an_asynchronous_target_has_an_around_hook(patch: PatchSpec) -> None:
    """Before and after hooks see the coroutine, not what it does."""
    if patch.kind in ("async function", "async generator"):
        assert patch.hook_type == "around"


@every_patch
def test_a_patch_says_why_it_is_there_and_when_it_may_go(patch: PatchSpec) -> None:
    assert patch.reason
    assert patch.drop_when


@pytest.mark.parametrize(
    ("dotted", "kind"),
    [
        ("sglang.srt.plugins.hook_registry.HookRegistry.apply_hooks", "classmethod"),
        ("sglang.srt.plugins.hook_registry.HookRegistry._target_sort_key", "staticmethod"),
        ("sglang.srt.plugins.hook_registry._wrap_fn", "function"),
    ],
)
def test_the_reader_tells_the_kinds_apart(dotted: str, kind: str) -> None:
    target = find(dotted)
    assert target is not None
    assert target.kind == kind


@pytest.mark.parametrize(
    "dotted",
    [
        "sglang.srt.plugins.hook_registry.HookRegistry.gone",
        "sglang.srt.plugins.hook_registry.Gone.apply_hooks",
        "sglang.srt.plugins.gone.HookRegistry.apply_hooks",
    ],
)
def test_the_reader_finds_nothing_where_nothing_is(dotted: str) -> None:
    assert find(dotted) is None
