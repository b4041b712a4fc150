"""What travels between router and workers survives the way."""

import json

import pytest

from cascadia_sglang.messages import AttemptOrder, JudgeReport

ORDERS = {
    "first": AttemptOrder(tier_index=0, threshold=0.8, early_abort=0.05, earlier_scores=()),
    "last": AttemptOrder(
        tier_index=2, threshold=0.0, early_abort=None, earlier_scores=(None, 0.25)
    ),
    "draft": AttemptOrder(
        tier_index=1, threshold=0.0, early_abort=None, earlier_scores=(0.2,), draft=(4, 2)
    ),
    "calibration": AttemptOrder(
        tier_index=0, threshold=0.5, early_abort=None, earlier_scores=(), calibration="new.json"
    ),
    "record": AttemptOrder(
        tier_index=0, threshold=0.5, early_abort=None, earlier_scores=(), record=True
    ),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_an_order_survives_the_sampling_parameters(order: AttemptOrder) -> None:
    params = order.to_params()
    assert AttemptOrder.from_params(json.loads(json.dumps(params))) == order


@pytest.mark.parametrize(
    "report",
    [
        JudgeReport(score=0.5, early_abort=False),
        JudgeReport(score=0.01, early_abort=True),
        JudgeReport(score=None, early_abort=False),
        JudgeReport(score=None, early_abort=False, record={"tokens": [1], "features": [[0.5]]}),
    ],
    ids=["scored", "ended-early", "failed", "recorded"],
)
def test_a_report_survives_the_metadata(report: JudgeReport) -> None:
    assert JudgeReport.from_meta(report.to_meta()) == report


def test_no_report_is_an_answer_without_a_score() -> None:
    assert JudgeReport.from_meta(None) == JudgeReport(score=None, early_abort=False)
