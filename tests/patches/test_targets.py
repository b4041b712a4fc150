"""What the patches ask of SGLang is there in the installed release, read without importing it."""

import pytest

from cascadia_patches import registry
from cascadia_patches.registry import load_patch
from cascadia_patches.spec import PatchSpec
from tests.sglang_releases.asked import patch_problems
from tests.sglang_releases.source import installed

NAMES = registry.ALL_PATCHES

every_patch = pytest.mark.parametrize("patch", [load_patch(name) for name in NAMES], ids=NAMES)


@every_patch
def test_the_target_is_as_recorded_and_the_hook_takes_its_arguments(patch: PatchSpec) -> None:
    assert patch_problems(patch, installed()) == []


@every_patch
def test_an_asynchronous_target_has_an_around_hook(patch: PatchSpec) -> None:
    """Before and after hooks see the coroutine, not what it does."""
    if patch.kind in ("async function", "async generator"):
        assert patch.hook_type == "around"


@every_patch
def test_a_patch_says_why_it_is_there_and_when_it_may_go(patch: PatchSpec) -> None:
    assert patch.reason
    assert patch.drop_when
