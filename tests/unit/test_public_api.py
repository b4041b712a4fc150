"""The public names of the package."""

import inspect
import subprocess
import sys

import pytest

import cascadia_sglang
from tests.repo.source import ROOT

NAMES = [name for name in cascadia_sglang.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(cascadia_sglang, name)
    assert inspect.getdoc(value)
    assert value.__module__.startswith("cascadia_sglang.")


@pytest.mark.parametrize("name", NAMES)
def test_a_public_function_is_typed(name: str) -> None:
    value = getattr(cascadia_sglang, name)
    if inspect.isfunction(value):
        signature = inspect.signature(value)
        kinds = [parameter.annotation for parameter in signature.parameters.values()]
        assert inspect.Signature.empty not in (*kinds, signature.return_annotation)


def test_the_public_names_are_sorted_and_listed() -> None:
    assert sorted(cascadia_sglang.__all__) == cascadia_sglang.__all__
    assert set(cascadia_sglang.__all__) <= set(dir(cascadia_sglang))


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unheard_of'"):
        getattr(cascadia_sglang, "unheard_of")  # noqa: B009


def test_the_package_and_its_planner_load_neither_torch_nor_sglang() -> None:
    script = (
        "import sys, cascadia_sglang as c\n"
        "own = [m for m in sys.modules if m.startswith('cascadia_sglang.')]\n"
        "assert own == ['cascadia_sglang.version'], own\n"
        "c.load_cascade, c.load_problem, c.solve, c.advise, c.simulate, c.read_status\n"
        "c.calibrate\n"
        "print([m for m in ('torch', 'sglang') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout == "[]\n"
