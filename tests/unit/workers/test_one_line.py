"""What SGLang says of a tier is told in one line."""

import pytest

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.workers.one_line import one_line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such backend\nand much more"), "no such backend"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_the_first_line_is_told_with_the_tier(error: Exception, told: str) -> None:
    with pytest.raises(WorkerError) as raised, one_line("small"):
        raise error
    assert str(raised.value) == f"tier small cannot be started: {told}"
