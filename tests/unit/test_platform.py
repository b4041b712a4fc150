"""The defaults that the CPU platform gives SGLang."""

from types import SimpleNamespace

import pytest

from cascadia_sglang import platform
from cascadia_sglang.memory import host_cpu


def _defaults(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, **flags: object) -> SimpleNamespace:
    monkeypatch.setattr(host_cpu, "has_bf16_instructions", lambda: has_bf16)
    args = SimpleNamespace(**{"dtype": "auto", "mem_fraction_static": None, **flags})
    platform.NativeCpuPlatform().apply_server_args_defaults(args)
    return args


@pytest.mark.parametrize(
    ("has_bf16", "flag", "dtype"),
    [
        (False, "auto", "float32"),
        (True, "auto", "auto"),
        (False, "bfloat16", "bfloat16"),
        (True, "float16", "float16"),
    ],
)
def test_fp32_stands_in_where_the_cpu_has_no_bf16(monkeypatch, has_bf16, flag, dtype):
    assert _defaults(monkeypatch, has_bf16, dtype=flag).dtype == dtype


def test_idle_workers_sleep_and_a_memory_flag_wins(monkeypatch):
    assert _defaults(monkeypatch, True).sleep_on_idle is True
    assert _defaults(monkeypatch, True).mem_fraction_static == host_cpu.HOST_MEMORY_SHARE
    assert _defaults(monkeypatch, True, mem_fraction_static=0.2).mem_fraction_static == 0.2
