"""Where a kernel test runs, and on which shapes.

An op is tested in up to three forms by the same tests: PyTorch for CPU tensors; Triton through its
interpreter, where TRITON_INTERPRET=1 is set before Triton is imported (`test_interpreter.py` starts
such a process); Triton compiled, on a CUDA device.
"""

from collections.abc import Iterator

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from cascadia_kernels.testing import TOLERANCES

INTERPRETED = bool(triton.knobs.runtime.interpret)
HAS_CUDA = torch.cuda.is_available()

if INTERPRETED:
    # The interpreter replaces the functions of Triton's language at a launch, and anew at every
    # call of one function from another, where nothing is left to replace: 15 times the time of the
    # rest. What only the calls replace is replaced here, once.
    interpreter._patch_lang(tl.standard.sum.fn)
    interpreter.InterpretedFunction.__call__ = lambda self, *args, **kwargs: self.rewrite()(
        *args, **kwargs
    )

# Triton forms alone: nothing to test where there is none.
NEEDS_TRITON = ["test_hidden_probe.py"]
collect_ignore = [] if INTERPRETED or HAS_CUDA else [*NEEDS_TRITON]
if not INTERPRETED:
    collect_ignore.append("test_bench.py")  # on the interpreter in place of a device

# Columns: one, two, few, ordinary numbers, and a prime that spans several ranges.
# Rows: none, one, few, and more than a vector register holds.
CPU_SHAPES = [(b, v) for v in (1, 2, 15, 16, 17, 128, 1000) for b in (0, 1, 2, 7, 33)]
CPU_SHAPES += [(1, 50021), (2, 50021)]
# 4097: a whole tile and a column.
INTERPRETER_SHAPES = [(0, 17), (1, 1), (2, 2), (3, 15), (2, 16), (7, 17), (1, 4097), (2, 50021)]
# Vocabularies of Llama 2, GPT-2, Qwen3, Gemma 3, and an odd one beyond 2^18.
SERVING_SHAPES = [(8, 32000), (3, 50257), (4, 151936), (2, 262144), (2, 300007)]

Case = tuple[torch.device, int, int, torch.dtype]


def _cases() -> Iterator[Case]:
    yield from _all(torch.device("cpu"), INTERPRETER_SHAPES if INTERPRETED else CPU_SHAPES)
    if HAS_CUDA:
        yield from _all(torch.device("cuda"), CPU_SHAPES + SERVING_SHAPES)


def _all(device: torch.device, shapes: list[tuple[int, int]]) -> Iterator[Case]:
    return ((device, *shape, dtype) for shape in shapes for dtype in TOLERANCES)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test its device; its shape and dtype too where it asks for `rows`."""
    names = metafunc.fixturenames
    if "rows" in names:
        cases = [
            pytest.param(
                *case,
                id="{}-B{}-V{}-{}".format(*case[:3], str(case[3]).split(".")[-1]),
                marks=_marks(case[0]),
            )
            for case in _cases()
        ]
        metafunc.parametrize(("device", "rows", "columns", "dtype"), cases)
    elif "device" in names:
        devices = [torch.device("cpu"), *([torch.device("cuda")] if HAS_CUDA else [])]
        metafunc.parametrize(
            "device",
            [pytest.param(device, id=str(device), marks=_marks(device)) for device in devices],
        )


def _marks(device: torch.device) -> list[pytest.MarkDecorator]:
    return [pytest.mark.gpu] if device.type == "cuda" else []


@pytest.fixture(params=[1] if INTERPRETED else [1, 2, 4], ids="threads-{}".format)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """CPU threads of PyTorch during the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an op leaves unwritten of its outputs is NaN, or an absurd integer."""
    empty = torch.empty

    def poisoned(*size: int, **options: object) -> torch.Tensor:
        tensor = empty(*size, **options)
        return tensor.fill_(float("nan") if tensor.is_floating_point() else -(2**40) - 7)

    monkeypatch.setattr(torch, "empty", poisoned)
