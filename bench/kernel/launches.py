"""How serving launches every kernel: the types of its arguments, and those that are constants.

The shapes of the arguments are in the kernels' own legends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton

from cascadia_kernels.combine import row_summary_kernel
from cascadia_kernels.fold_into_states import fold_into_states_kernel
from cascadia_kernels.fold_sampled import fold_sampled_kernel
from cascadia_kernels.hidden_probe import BLOCK, ROWS, UNITS, probe_score_kernel, probe_units_kernel
from cascadia_kernels.judge_score import judge_score_kernel
from cascadia_kernels.row_statistics import (
    PARTIALS_STRIDE,
    PLACES,
    RANGE,
    WARPS,
    launch_constants,
    row_statistics_kernel,
)
from cascadia_kernels.verify_draft import (
    PLACES_AT_ONCE,
    draft_rows_kernel,
    first_disagreements_kernel,
)

COLUMNS = 151936  # Qwen3's vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A kernel as serving launches it: types of its arguments, and those that are constants."""

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int = 4


def launches() -> Iterator[Launch]:
    """Every kernel, with the variants that serving uses."""
    yield from _row_statistics()
    yield from _second_launches()
    yield from _drafts()
    yield from _scores()


def _row_statistics() -> Iterator[Launch]:
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16"), (torch.float16, "fp16")):
        for tempered in (False, True):
            yield Launch(
                name=f"row_statistics {name}{' tempered' if tempered else ''}",
                kernel=row_statistics_kernel,
                types={
                    "logits_ptr": f"*{name}",
                    "stride_b": "i64",
                    "temperature_ptr": "*fp32",
                    "partials_ptr": "*fp32",
                    "keys_ptr": "*i64",
                    "columns": "i32",
                    "ranges": "i32",
                },
                constants={
                    "stride_v": 1,
                    "temperature_stride": 1,
                    **({} if tempered else {"temperature_ptr": None}),
                    **launch_constants(dtype),
                },
                warps=WARPS,
            )


def _second_launches() -> Iterator[Launch]:
    combine = {**_ranges(), "KEPT": 16}
    step_types = {
        "partials_ptr": "*fp32",
        "keys_ptr": "*i64",
        "token_ids_ptr": "*i64",
        "probability_ptr": "*fp32",
        "probability_stride_b": "i64",
        "temperature_ptr": "*fp32",
        "unusable_ptr": "*i1",
        "columns": "i32",
    }
    step_constants = {
        "token_ids_stride": 1,
        "probability_stride_v": 1,
        "temperature_stride": 1,
        **combine,
    }
    greedy = {"probability_ptr": None, "temperature_ptr": None, "unusable_ptr": None}
    greedy |= {"probability_stride_b": 0}
    yield Launch(
        name="fold_sampled",
        kernel=fold_sampled_kernel,
        types={**step_types, "values_ptr": "*fp32"},
        constants={**step_constants, **greedy},
    )
    yield Launch(
        name="fold_sampled tempered",
        kernel=fold_sampled_kernel,
        types={**step_types, "values_ptr": "*fp32"},
        constants=step_constants,
    )
    yield Launch(
        name="fold_into_states tempered",
        kernel=fold_into_states_kernel,
        types={
            **step_types,
            "states_ptr": "*fp64",
            "states_stride": "i32",
            "slots_ptr": "*i64",
            "is_new_ptr": "*i1",
            "is_forced_ptr": "*i1",
        },
        constants=step_constants,
    )
    yield Launch(
        name="row_summary",
        kernel=row_summary_kernel,
        types={
            "partials_ptr": "*fp32",
            "keys_ptr": "*i64",
            "temperature_ptr": "*fp32",
            "values_ptr": "*fp32",
            "ids_ptr": "*i64",
            "logits_ptr": "*fp32",
            "rows": "i32",
        },
        constants={"temperature_stride": 1, **combine},
    )


def _ranges() -> dict[str, int]:
    ranges = triton.cdiv(COLUMNS, RANGE)
    return {
        "RANGES": ranges,
        "PADDED": triton.next_power_of_2(ranges),
        "PLACES": PLACES,
        "PARTIALS_STRIDE": PARTIALS_STRIDE,
    }


def _drafts() -> Iterator[Launch]:
    yield Launch(
        name="verify_draft rows",
        kernel=draft_rows_kernel,
        types={
            "partials_ptr": "*fp32",
            "keys_ptr": "*i64",
            "logits_ptr": "*fp32",
            "stride_b": "i64",
            "token_ids_ptr": "*i64",
            "columns": "i32",
            "values_ptr": "*fp32",
            "preferred_ptr": "*i64",
        },
        constants={"stride_v": 1, "token_ids_stride": 1, **_ranges()},
    )
    yield Launch(
        name="verify_draft drafts",
        kernel=first_disagreements_kernel,
        types={
            "preferred_ptr": "*i64",
            "token_ids_ptr": "*i64",
            "starts_ptr": "*i64",
            "agreed_ptr": "*i64",
            "preferred_there_ptr": "*i64",
        },
        constants={"token_ids_stride": 1, "starts_stride": 1, "BLOCK": PLACES_AT_ONCE},
    )


def _scores() -> Iterator[Launch]:
    yield Launch(
        name="judge_score",
        kernel=judge_score_kernel,
        types={
            "states_ptr": "*fp64",
            "states_stride": "i32",
            "slots_ptr": "*i64",
            "prompt_tokens_ptr": "*i64",
            "is_truncated_ptr": "*i1",
            "weights_ptr": "*fp64",
            "bias_ptr": "*fp64",
            "score_ptr": "*fp64",
        },
        constants={},
        warps=1,
    )
    parameters = ("norm_weight", "norm_bias", "first", "first_bias", "second")
    yield Launch(
        name="hidden_probe units",
        kernel=probe_units_kernel,
        types={
            "hidden_ptr": "*bf16",
            "hidden_stride": "i32",
            **{f"{name}_ptr": "*fp32" for name in parameters},
            "sums_ptr": "*fp32",
            "rows": "i32",
            "hidden": "i32",
            "units": "i32",
        },
        constants={"ROWS": ROWS, "UNITS": UNITS, "BLOCK": BLOCK},
    )
    yield Launch(
        name="hidden_probe score",
        kernel=probe_score_kernel,
        types={
            "sums_ptr": "*fp32",
            "second_bias_ptr": "*fp32",
            "score_ptr": "*fp32",
            "groups": "i32",
        },
        constants={"PADDED": 4},
        warps=1,
    )
