"""Compiles every kernel for named GPUs without having one, and reads what ptxas made of it.

python -m bench.kernel.compiled
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.kernel.launches import COLUMNS, Launch, launches, split_launches

CAPABILITIES = (80, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one program of a compiled kernel takes.

    Attributes:
        registers: of each thread.
        spilled_bytes: of each thread's stack.
        instructions: in the machine code, each once, however often it is run.
        barriers, shuffles, exponentials, global_loads: of these instructions.
    """

    registers: int
    shared_bytes: int
    spilled_bytes: int
    instructions: int
    barriers: int
    shuffles: int
    exponentials: int
    global_loads: int


def compile_for(launch: Launch, capability: int) -> Resources:
    """Compile for `cuda:capability`; no driver and no device are asked for."""
    names = launch.kernel.arg_names
    constants = {name: value for name, value in launch.constants.items() if name in names}
    signature = {n: "constexpr" if n in constants else launch.types[n] for n in names}
    # Torch aligns its memory to 16 bytes and more, and serving's strides are divisible by 16.
    aligned = [
        (index,)
        for index, name in enumerate(names)
        if signature[name].startswith("*") or name in ("stride_b", "probability_stride_b")
    ]
    compiled = triton.compile(
        ASTSource(
            launch.kernel,
            signature,
            constants,
            {index: [["tt.divisibility", 16]] for index in aligned},
        ),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": launch.warps},
    )
    usage = _cuobjdump("--dump-resource-usage", compiled.asm["cubin"])
    sass = _cuobjdump("-sass", compiled.asm["cubin"])
    # An address in a comment, a predicate on some lines, the operation.
    operations = Counter(re.findall(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", sass))
    resources = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return Resources(
        registers=resources["REG"],
        shared_bytes=compiled.metadata.shared,
        spilled_bytes=resources["STACK"] + resources["LOCAL"],
        instructions=sum(operations.values()),
        barriers=_count(operations, "BAR"),
        shuffles=_count(operations, "SHFL"),
        exponentials=operations["MUFU.EX2"],
        global_loads=_count(operations, "LDG"),
    )


def _count(operations: Counter[str], name: str) -> int:
    return sum(count for operation, count in operations.items() if operation.split(".")[0] == name)


def _cuobjdump(option: str, cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run(
            [tool, option, file.name], capture_output=True, text=True, check=True
        ).stdout


COLUMN_NAMES = {
    "registers": "registers",
    "shared_bytes": "shared bytes",
    "spilled_bytes": "spilled bytes",
    "instructions": "instructions",
    "barriers": "barriers",
    "shuffles": "shuffles",
    "exponentials": "exponentials",
    "global_loads": "global loads",
}


def main() -> None:
    """Print a table of all kernels, and one of the splits of `row_statistics`."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"triton {triton.__version__}, V = {COLUMNS}\n")
    for each in (launches(), split_launches()):
        print(f"| kernel | target | warps | {' | '.join(COLUMN_NAMES.values())} |")
        print("|---" * (3 + len(COLUMN_NAMES)) + "|")
        for launch in each:
            for capability in CAPABILITIES:
                resources = compile_for(launch, capability)
                values = " | ".join(str(getattr(resources, name)) for name in COLUMN_NAMES)
                print(f"| {launch.name} | cuda:{capability} | {launch.warps} | {values} |")
        print()


if __name__ == "__main__":
    main()
