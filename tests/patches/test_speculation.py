"""The hooks on speculative decoding, on SGLang itself: in a process of its own, for they stay."""

import os
import subprocess
import sys

import pytest

from cascadia_patches.registry import (
    CPU_SPECULATION_PATCHES,
    SPECULATION_JUDGE_PATCHES,
    load_patch,
)

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

PRELUDE = """
import importlib, sys
import pytest, torch
from sglang.srt.platforms import current_platform
from sglang.srt.speculative import eagle_utils
from cascadia_patches.apply import apply_patches
from cascadia_patches.registry import SPECULATION_JUDGE_PATCHES
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.verification import VerifyObserver

def judge():
    apply_patches(SPECULATION_JUDGE_PATCHES, VerifyObserver(Judge({})))

def worker():
    return current_platform.get_speculative_worker_cls("NGRAM")

def is_ours(name):
    owner, _, attribute = name.rpartition(".")
    return hasattr(getattr(importlib.import_module(owner), attribute), "__wrapped__")
"""

ORDERS = {
    "the judge first": """
judge()
assert worker().__name__ == "NGRAMWorker"
""",
    "the worker first": """
worker()
judge()
""",
}

# What SGLang has of its own on a host without an accelerator, in its ordinary wheel. Where a line
# fails with a new release, that release has brought something: drop our stand-in.
LACKS = """
from sglang.kernels.ops.speculative import cache_locs, spec_tree
from sglang.srt.mem_cache import allocation
assert eagle_utils.tree_speculative_sampling_target_only is None
assert eagle_utils.top_k_renorm_prob is None
assert eagle_utils.top_p_renorm_prob is None
with pytest.raises(ImportError):
    importlib.import_module("sgl_kernel.speculative")
ones = torch.ones(1, 2, dtype=torch.int64)
with pytest.raises(Exception, match="NativeCpuPlatform"):
    spec_tree.verify_tree_greedy_func(*[ones] * 8)
with pytest.raises(Exception, match="driver|CUDA"):
    one = ones[0, :1]
    allocation.assign_req_to_token_pool_func(one, ones, one, one, ones[0], 1)
with pytest.raises(Exception, match="driver|CUDA"):
    cache_locs.fill_front_out_cache_loc_func(ones[0, :1], ones[0], ones[0])
"""


def run(script: str) -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("order", ORDERS)
def test_the_names_that_the_worker_calls_are_hooked_in_any_order(order: str) -> None:
    """It imports functions by name, so a hook on their own module alone might not be called."""
    patches = map(load_patch, (*CPU_SPECULATION_PATCHES, *SPECULATION_JUDGE_PATCHES))
    called = [name for patch in patches for name in patch.called_as]
    assert any(name.endswith("ngram_worker.eagle_sample") for name in called)
    names = [name for name in called if "eagle_worker_common" not in name]
    run(ORDERS[order] + f"assert [name for name in {names} if not is_ours(name)] == []\n")


def test_sglang_still_lacks_what_stands_in() -> None:
    run(LACKS)
