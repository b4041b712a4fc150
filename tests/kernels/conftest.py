"""Every kernel test runs on the CPU, and on a CUDA device too where there is one."""

from collections.abc import Iterator

import pytest
import torch

DEVICES = [
    "cpu",
    *([pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []),
]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the op runs; inputs are made on the CPU and compared there."""
    return torch.device(request.param)


@pytest.fixture(params=[1, 2, 4], ids="threads-{}".format)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """CPU threads of PyTorch during the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)
