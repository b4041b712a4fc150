"""Puts the stand-ins in force, in a process that is to decode speculatively.

A stand-in for something that SGLang lacks is used as long as SGLang lacks it. The other stand-ins
are hooks, which say when they can go.
"""

from cascadia_patches.absent import fill_absent, provide_module
from cascadia_patches.apply import apply_patches
from cascadia_patches.registry import CPU_SPECULATION_PATCHES
from cascadia_sglang.cpu_speculation.probability_cuts import top_k_renorm, top_p_renorm
from cascadia_sglang.cpu_speculation.tree_links import tree_links
from cascadia_sglang.cpu_speculation.tree_verification import verify_by_sampling

_EAGLE_UTILS = "sglang.srt.speculative.eagle_utils"


def ngram_worker() -> type:
    """SGLang's worker for NGRAM speculation, with everything that it needs.

    Raises:
        PatchError: names what of SGLang is no longer there.
    """
    # SGLang imports it together with the worker. The wheel's own needs a CUDA driver.
    provide_module("sgl_kernel.speculative", reconstruct_indices_from_tree_mask=tree_links)
    fill_absent(f"{_EAGLE_UTILS}.tree_speculative_sampling_target_only", verify_by_sampling)
    fill_absent(f"{_EAGLE_UTILS}.top_k_renorm_prob", top_k_renorm)
    fill_absent(f"{_EAGLE_UTILS}.top_p_renorm_prob", top_p_renorm)
    apply_patches(CPU_SPECULATION_PATCHES)
    from sglang.srt.speculative.ngram_worker import NGRAMWorker

    worker: type = NGRAMWorker
    return worker
