"""Every kernel compiles for the GPUs it is meant for, without spilling; no GPU is needed."""

import pytest
import triton

from bench.kernel.compiled import compile_for
from bench.kernel.launches import Launch, launches, split_launches

pytestmark = pytest.mark.slow

if triton.knobs.runtime.interpret:
    pytest.skip("the interpreter's kernels do not compile", allow_module_level=True)

# Registers that leave the threads of a kernel enough company on a processor: 168 are three
# programs of 128 threads, as many as hide the latency of their reads.
MOST_REGISTERS = 168
# The row statistics of bfloat16 for one of both is enough.
CASES = [
    (launch, capability)
    for launch in launches()
    for capability in (80, 90)
    if capability == 90 or "bf16" not in launch.name
]


@pytest.mark.parametrize(
    ("launch", "capability"), CASES, ids=[f"{launch.name}-cuda:{c}" for launch, c in CASES]
)
def test_a_kernel_compiles_without_spilling(launch: Launch, capability: int) -> None:
    compiled = compile_for(launch, capability)
    assert compiled.spilled_bytes == 0
    assert 0 < compiled.registers <= MOST_REGISTERS
    assert compiled.instructions > 10


@pytest.mark.parametrize("launch", list(split_launches()), ids=lambda launch: launch.name)
def test_every_split_compiles_without_spilling(launch: Launch) -> None:
    compiled = compile_for(launch, 90)
    assert compiled.spilled_bytes == 0
    assert 0 < compiled.registers <= MOST_REGISTERS


# What waits for other threads: 16 best pairs a range took 42 barriers and 137 shuffles.
MOST_BARRIERS, MOST_SHUFFLES = 20, 100
COMBINING = ("fold_", "row_summary", "verify_draft rows")


@pytest.mark.parametrize(
    "launch",
    [
        launch
        for launch in launches()
        if launch.name.startswith(("row_statistics fp32", *COMBINING))
    ],
    ids=lambda launch: launch.name,
)
def test_little_is_waited_for(launch: Launch) -> None:
    compiled = compile_for(launch, 90)
    assert compiled.barriers <= (0 if launch.name.startswith(COMBINING) else MOST_BARRIERS)
    assert compiled.shuffles <= MOST_SHUFFLES
    assert compiled.exponentials > 0
    assert compiled.global_loads > 0
