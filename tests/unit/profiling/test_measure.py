"""What a measured profile says of its machine."""

from types import SimpleNamespace

import pytest

from cascadia_sglang.profiling.measure import device_of


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        (["NVIDIA H100 80GB HBM3"] * 2, "NVIDIA H100 80GB HBM3"),
        (["NVIDIA L40S", "NVIDIA H100 80GB HBM3"], "NVIDIA L40S, NVIDIA H100 80GB HBM3"),
    ],
)
def test_an_accelerator_is_named_once(devices, says):
    assert device_of([SimpleNamespace(device=name) for name in devices]) == says


def test_a_host_is_told_by_its_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr("platform.processor", lambda: "x86_64")
    assert device_of([SimpleNamespace(device="cpu")]) == "3 cores of x86_64"
