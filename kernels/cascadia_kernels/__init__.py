"""The judge's tensor operations and their references. Imports torch and triton only."""

from cascadia_kernels.combine import RowSummary, row_summary
from cascadia_kernels.fold_into_states import STATE_COLUMNS, fold_into_states
from cascadia_kernels.fold_sampled import STEP_VALUES, KeptLogits, fold_sampled
from cascadia_kernels.hidden_probe import ProbeWeights, hidden_probe
from cascadia_kernels.judge_score import FEATURES, judge_score
from cascadia_kernels.row_statistics import SPLITS, RowStatistics, Split, row_statistics
from cascadia_kernels.verify_draft import DraftAgreement, verify_draft
from cascadia_kernels.warm_up import warm_up

__all__ = [
    "FEATURES",
    "SPLITS",
    "STATE_COLUMNS",
    "STEP_VALUES",
    "DraftAgreement",
    "KeptLogits",
    "ProbeWeights",
    "RowStatistics",
    "RowSummary",
    "Split",
    "fold_into_states",
    "fold_sampled",
    "hidden_probe",
    "judge_score",
    "row_statistics",
    "row_summary",
    "verify_draft",
    "warm_up",
]
