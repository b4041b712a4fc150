"""How serving launches every kernel: the types of its arguments, and those that are constants.

The shapes of the arguments are in the kernels' own legends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton

from cascadia_kernels.fold_sampled import fold_sampled_kernel
from cascadia_kernels.hidden_probe import BLOCK, ROWS, UNITS, probe_score_kernel, probe_units_kernel
from cascadia_kernels.layout import PARTIALS_STRIDE
from cascadia_kernels.row_statistics import (
    DEFAULT_SPLIT,
    SPLITS,
    Split,
    launch_constants,
    row_statistics_kernel,
)
from cascadia_kernels.row_summary import row_summary_kernel
from cascadia_kernels.token_values import token_values_kernel
from cascadia_kernels.verify_draft import PLACES_AT_ONCE, first_disagreements_kernel

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
    yield from _speculation()
    yield from _probes()


def split_launches() -> Iterator[Launch]:
    """`row_statistics` of float32 logits in every split that a tuning run compares."""
    for name, split in SPLITS.items():
        yield _row_statistics_launch(f"row_statistics {name}", torch.float32, "fp32", False, split)


def _row_statistics() -> Iterator[Launch]:
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16"), (torch.float16, "fp16")):
        for tempered in (False, True):
            title = f"row_statistics {name}{' tempered' if tempered else ''}"
            yield _row_statistics_launch(title, dtype, name, tempered, DEFAULT_SPLIT)


def _row_statistics_launch(
    title: str,
    dtype: torch.dtype,
    dtype_name: str,
    tempered: bool,
    split: Split,
    *,
    chosen: bool = False,
) -> Launch:
    return Launch(
        name=title,
        kernel=row_statistics_kernel,
        types={
            "logits_ptr": f"*{dtype_name}",
            "stride_b": "i64",
            "temperature_ptr": "*fp32",
            "rows_ptr": "*i32",
            "partials_ptr": "*fp32",
            "columns": "i32",
            "ranges": "i32",
        },
        constants={
            "stride_v": 1,
            "temperature_stride": 1,
            **({} if tempered else {"temperature_ptr": None}),
            **({"rows_stride": 1} if chosen else {"rows_ptr": None, "rows_stride": 0}),
            **launch_constants(dtype, split),
        },
        warps=split.warps,
    )


def _second_launches() -> Iterator[Launch]:
    step_types = {
        "partials_ptr": "*fp32",
        "token_ids_ptr": "*i64",
        "probability_ptr": "*fp32",
        "probability_stride_b": "i64",
        "temperature_ptr": "*fp32",
        "kept_ptr": "*fp32",
        "kept_stride": "i64",
        "places_ptr": "*i32",
        "columns": "i32",
    }
    step_constants = {
        "token_ids_stride": 1,
        "probability_stride_v": 1,
        "temperature_stride": 1,
        **_ranges(),
    }
    unchanged = {"kept_ptr": None, "kept_stride": 0, "places_ptr": None}
    greedy = {"probability_ptr": None, "probability_stride_b": 0, "temperature_ptr": None}
    for title, absent in (
        ("fold_sampled", {**greedy, **unchanged}),
        ("fold_sampled tempered", unchanged),
        ("fold_sampled tempered, rows kept", {}),
    ):
        yield Launch(
            name=title,
            kernel=fold_sampled_kernel,
            types={**step_types, "values_ptr": "*fp32"},
            constants={**step_constants, **absent},
            warps=1,
        )
    yield Launch(
        name="row_summary",
        kernel=row_summary_kernel,
        types={
            "partials_ptr": "*fp32",
            "temperature_ptr": "*fp32",
            "values_ptr": "*fp32",
            "best_ids_ptr": "*i64",
        },
        constants={"temperature_stride": 1, **_ranges()},
        warps=1,
    )


def _ranges() -> dict[str, int]:
    ranges = triton.cdiv(COLUMNS, DEFAULT_SPLIT.range_columns)
    return {
        "RANGES": ranges,
        "PADDED": triton.next_power_of_2(ranges),
        "RANGE": DEFAULT_SPLIT.range_columns,
        "PARTIALS_STRIDE": PARTIALS_STRIDE,
    }


def _drafts() -> Iterator[Launch]:
    yield _token_values_launch("verify_draft rows", ids="*i64", chosen=False)
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


def _speculation() -> Iterator[Launch]:
    """A step of speculative decoding, of whose rows the accepted ones are read."""
    yield _row_statistics_launch(
        "row_statistics fp32, chosen rows", torch.float32, "fp32", False, DEFAULT_SPLIT, chosen=True
    )
    yield _token_values_launch("token_values, chosen rows", ids="*i32", chosen=True)


def _token_values_launch(title: str, *, ids: str, chosen: bool) -> Launch:
    return Launch(
        name=title,
        kernel=token_values_kernel,
        types={
            "partials_ptr": "*fp32",
            "logits_ptr": "*fp32",
            "stride_b": "i64",
            "token_ids_ptr": ids,
            "rows_ptr": "*i32",
            "columns": "i32",
            "values_ptr": "*fp32",
            "preferred_ptr": "*i64",
        },
        constants={
            "stride_v": 1,
            "token_ids_stride": 1,
            **({"rows_stride": 1} if chosen else {"rows_ptr": None, "rows_stride": 0}),
            **_ranges(),
        },
        warps=1,
    )


def _probes() -> Iterator[Launch]:
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
