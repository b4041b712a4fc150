"""The judge's tensor operations and their references. Imports torch and triton only."""

from cascadia_kernels.fold_sampled import STEP_VALUES, fold_sampled
from cascadia_kernels.row_statistics import BEST_PAIRS, RowStatistics, row_statistics

__all__ = ["BEST_PAIRS", "STEP_VALUES", "RowStatistics", "fold_sampled", "row_statistics"]
