"""What the kernel bench compares: the judge's launches, the same in PyTorch, and other kernels.

The rows of a step are those of a draft too: `verify_draft` takes them as one draft of B places.

Shape legend: B rows, V vocabulary, D step values.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from cascadia_kernels.fold_sampled import fold_sampled
from cascadia_kernels.row_statistics import SPLITS, Split, row_statistics
from cascadia_kernels.testing import make_logits, make_temperatures
from cascadia_kernels.verify_draft import verify_draft

READ_ONLY = "read-only sum"
OURS = "cascadia"
DRAFT = "cascadia, a draft"


@dataclass(frozen=True, slots=True)
class Step:
    """Inputs of one decoding step; `temperature_B` None where every row is greedy.

    Attributes:
        probability_BV: the sampler's buffer, as serving hands it over; None for a greedy step.
        starts: of a draft, 0 and B.
    """

    logits_BV: torch.Tensor
    temperature_B: torch.Tensor | None
    token_ids_B: torch.Tensor
    probability_BV: torch.Tensor | None
    starts: torch.Tensor


@dataclass(frozen=True, slots=True)
class Variant:
    """Something to time on a step.

    Attributes:
        gives_step_values: whether its result is that of the judge's step, which is then checked.
            Where it is not, the variant does less than the judge's step.
    """

    name: str
    run: Callable[[Step], torch.Tensor]
    gives_step_values: bool


def make_steps(
    rows: int, columns: int, dtype: torch.dtype, tempered: bool, count: int, device: torch.device
) -> list[Step]:
    """Steps of the same shape in memory of their own; tokens as a sampler may choose them."""
    source_BV = make_logits(rows, columns, dtype).to(device)
    temperature_B = 0.5 + make_temperatures(rows).to(device) if tempered else None
    generator = torch.Generator().manual_seed(1)
    token_ids_B = torch.randint(columns, (rows,), generator=generator).to(device)
    probability_BV = None
    if temperature_B is None:
        token_ids_B = source_BV.argmax(dim=-1)
    else:
        # One buffer for all steps: of it a step reads one number a row.
        probability_BV = (source_BV.float() / temperature_B.unsqueeze(-1)).softmax(dim=-1)
    starts = torch.tensor([0, rows], device=device)
    return [
        Step(source_BV.clone(), temperature_B, token_ids_B, probability_BV, starts)
        for _ in range(count)
    ]


def cascadia_step(step: Step) -> torch.Tensor:
    """Step values [B, D], as serving computes them."""
    statistics = row_statistics(step.logits_BV, step.temperature_B)
    return fold_sampled(statistics, step.token_ids_B, step.probability_BV, step.temperature_B)


def cascadia_split(split: Split) -> Callable[[Step], torch.Tensor]:
    """The same with rows split in another way."""

    def run(step: Step) -> torch.Tensor:
        statistics = row_statistics(step.logits_BV, step.temperature_B, split)
        return fold_sampled(statistics, step.token_ids_B, step.probability_BV, step.temperature_B)

    return run


def cascadia_draft(step: Step) -> torch.Tensor:
    """Step values [B, D] of a draft's tokens, and how far it agrees, as serving computes them."""
    return verify_draft(step.logits_BV, step.token_ids_B, step.starts).values_ND


def torch_draft(step: Step) -> torch.Tensor:
    """The same in PyTorch."""
    values_BD = torch_step(step)
    agrees_B = (step.logits_BV.argmax(dim=-1) == step.token_ids_B).to(torch.int64)
    agreed = agrees_B.cumprod(dim=0).sum()
    # Kept alive, so that a compiler cannot leave it out.
    return values_BD + 0.0 * agreed


def torch_step(step: Step) -> torch.Tensor:
    """The same step values as one writes them in PyTorch; the logits are at hand."""
    logits_BV = step.logits_BV.float()
    best_BK, _ = logits_BV.topk(2, dim=-1)
    logprobs_BV = logits_BV.log_softmax(dim=-1)
    entropy_B = -(logprobs_BV.exp() * logprobs_BV).sum(dim=-1)
    certainty_B = -logprobs_BV.mean(dim=-1) - torch.log(
        torch.tensor(float(logits_BV.shape[1]), device=logits_BV.device)
    )
    logprob_B = logprobs_BV.gather(1, step.token_ids_B.unsqueeze(-1)).squeeze(-1)
    return torch.stack(
        (
            logprob_B,
            entropy_B,
            best_BK.select(1, 0) - best_BK.select(1, 1),
            certainty_B,
            torch.ones_like(logprob_B),
        ),
        dim=-1,
    )


def sglang_logsumexp(step: Step) -> torch.Tensor:
    """SGLang's own statistics of a row: its maximum and logsumexp, no more, [B]."""
    from sglang.srt.layers.logsumexp import row_logsumexp

    return row_logsumexp(step.logits_BV)[1]


def sglang_logsumexp_top2(step: Step) -> torch.Tensor:
    """The same with the two best logits and their columns."""
    from sglang.srt.layers.logsumexp import row_logsumexp_topk

    return row_logsumexp_topk(step.logits_BV, 2)[1]


def read_only_sum(step: Step) -> torch.Tensor:
    """One sum for each 16,384 columns: what reading the same bytes takes at the least, [B, S]."""
    rows, columns = step.logits_BV.shape
    ranges = triton.cdiv(columns, 16384)
    sums_BS = torch.empty(rows, ranges, dtype=torch.float32, device=step.logits_BV.device)
    _read_only_sum_kernel[(rows * ranges,)](
        step.logits_BV, step.logits_BV.stride(0), sums_BS, columns, ranges, RANGE=16384, TILE=4096
    )
    return sums_BS


@triton.jit
def _read_only_sum_kernel(
    logits_ptr, stride_b, sums_ptr, columns, ranges, RANGE: tl.constexpr, TILE: tl.constexpr
):
    program = tl.program_id(0).to(tl.int64)
    first = (program % ranges).to(tl.int32) * RANGE
    row_ptr = logits_ptr + program // ranges * stride_b
    sums = tl.zeros([TILE], tl.float32)
    for start in range(first, tl.minimum(first + RANGE, columns), TILE):
        column = start + tl.arange(0, TILE)
        sums += tl.load(row_ptr + column, mask=column < columns, other=0.0).to(tl.float32)
    tl.store(sums_ptr + program, tl.sum(sums, axis=0))


def split_variants() -> list[Variant]:
    """The judge's step in every split that a tuning run compares."""
    return [
        Variant(f"{OURS} {name}", cascadia_split(split), gives_step_values=True)
        for name, split in SPLITS.items()
    ]


def variants(on_device: bool) -> list[Variant]:
    """All that this machine has.

    Args:
        on_device: whether there is a CUDA device, which `torch.compile` and other kernels need.
    """
    variants = [
        Variant(READ_ONLY, read_only_sum, gives_step_values=False),
        Variant(OURS, cascadia_step, gives_step_values=True),
        Variant(DRAFT, cascadia_draft, gives_step_values=True),
        Variant("torch", torch_step, gives_step_values=True),
        Variant("torch, a draft", torch_draft, gives_step_values=True),
    ]
    if not on_device:
        return variants
    for name, eager in (("torch.compile", torch_step), ("torch.compile, a draft", torch_draft)):
        compiled = torch.compile(eager, dynamic=False)
        variants.append(Variant(name, compiled, gives_step_values=True))
    for name, library, softmax in (
        ("sglang row_logsumexp", "sglang", sglang_logsumexp),
        ("sglang row_logsumexp_topk", "sglang", sglang_logsumexp_top2),
        ("flashinfer softmax", "flashinfer", _flashinfer_softmax),
        ("quack softmax", "quack", _quack_softmax),
        ("liger softmax", "liger_kernel", _liger_softmax),
    ):
        if importlib.util.find_spec(library) is not None:
            variants.append(Variant(name, softmax, gives_step_values=False))
    return variants


def _flashinfer_softmax(step: Step) -> torch.Tensor:
    from flashinfer.sampling import softmax

    return softmax(step.logits_BV, step.temperature_B)


def _quack_softmax(step: Step) -> torch.Tensor:
    from quack.softmax import softmax_fwd

    return softmax_fwd(step.logits_BV)


def _liger_softmax(step: Step) -> torch.Tensor:
    from liger_kernel.ops.softmax import LigerSoftmaxFunction

    return LigerSoftmaxFunction.apply(step.logits_BV)
