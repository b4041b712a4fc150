"""A few random rows through the compiled calls of a host's step, compared with float64."""

import numpy as np
import torch

from cascadia_kernels.layout import STEP_VALUES
from cascadia_kernels.self_test import ROWS, compare, self_test_rows
from cascadia_sglang.judge.host_step import fold_host_step, host_statistics
from cascadia_sglang.judge.state import COUNT, KNOWN, empty_states

COLUMNS = 1000


def self_test_host_step() -> None:
    """Fold one step of each row into a state of its own; about a millisecond.

    Raises:
        SelfTestError: names the row and the value that disagrees with float64.
    """
    rows = self_test_rows(COLUMNS)
    logits_BV = rows.logits_BV.numpy()
    states_NS = empty_states(ROWS)
    each = np.arange(ROWS)
    fold_host_step(
        states_NS,
        each,
        each,
        rows.token_ids_B.numpy(),
        logits_BV,
        host_statistics(logits_BV),
        np.zeros(ROWS, dtype=np.bool_),
    )
    # After one step the sums are its values.
    sums_BD = torch.from_numpy(states_NS[:, COUNT + 1 : KNOWN + 1])
    compare("a step on the host", sums_BD, rows.values_BD, STEP_VALUES)
