"""The Triton kernels on a machine without a GPU: the other tests of this folder, interpreted."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import triton

FOLDER = Path(__file__).parent
OP_TESTS = ["row_statistics", "fold_sampled", "hidden_probe", "token_values", "verify_draft"]
OP_TESTS += ["warm_up", "self_test", "bench"]


@pytest.mark.slow
@pytest.mark.skipif(triton.knobs.runtime.interpret, reason="this process is the interpreter")
def test_every_op_passes_its_tests_under_the_interpreter() -> None:
    """In a process of its own: Triton must see the variable before its first import."""
    files = [str(FOLDER / f"test_{name}.py") for name in OP_TESTS]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu", *files],
        cwd=FOLDER.parents[1],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) >= 100, run.stdout[-2000:]
    assert "skipped" not in run.stdout.splitlines()[-1]
