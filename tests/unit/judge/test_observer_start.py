"""A judge is compiled and compared with float64 when it is built; if it fails, the start ends."""

import multiprocessing
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sglang.srt.entrypoints.engine import _wait_for_scheduler_ready

from cascadia_kernels.self_test import SelfTestError
from cascadia_patches.model import model_runner_init
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.judge import observer, self_test
from cascadia_sglang.judge.device_observer import DeviceObserver
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import HostObserver, build_observer
from cascadia_sglang.launch.scheduler_group import SchedulerGroup
from cascadia_sglang.server.start_errors import one_line_exit
from cascadia_sglang.worker.failed_start import reported


def test_kernels_are_compiled_and_tested_for_the_runners_device_and_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(observer, "warm_up", lambda *args, **_more: calls.append(("warm", *args)))
    monkeypatch.setattr(observer, "self_test", lambda *args: calls.append(("test", *args[:2])))
    assert isinstance(build_observer(Judge({}), "cuda", 151936), DeviceObserver)
    assert calls == [("warm", "cuda", 151936), ("test", "cuda", 151936)]
    calls.clear()
    assert isinstance(build_observer(Judge({}), "cpu", 151936), HostObserver)
    assert calls == []


def no_compiler(device: str, columns: int, **_options: Any) -> None:
    raise RuntimeError(f"\nno compiler for {device}, V = {columns}\nand a long trace")


def wrong_numbers(*_arguments: Any) -> None:
    raise SelfTestError("a draft gives entropy 3 in row 1, float64 gives 2")


@pytest.mark.parametrize(
    ("name", "fails", "message"),
    [
        ("warm_up", no_compiler, "the judge cannot run on cuda: no compiler for cuda, V = 40"),
        ("self_test", wrong_numbers, "the judge cannot run on cuda: a draft gives entropy 3"),
    ],
)
def test_kernels_that_do_not_compile_or_give_wrong_numbers_are_refused_in_one_line(
    name: str, fails: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "warm_up", lambda *_args, **_options: None)
    monkeypatch.setattr(observer, "self_test", lambda *_args: None)
    monkeypatch.setattr(observer, name, fails)
    with pytest.raises(WorkerError, match=message) as raised:
        build_observer(Judge({}), "cuda", 40)
    assert "\n" not in str(raised.value)


def test_an_error_without_a_text_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(observer, "warm_up", fail)
    with pytest.raises(WorkerError, match="the judge cannot run on cuda: MemoryError"):
        build_observer(Judge({}), "cuda", 40)


def test_a_host_that_gives_wrong_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = self_test.host_statistics
    monkeypatch.setattr(self_test, "host_statistics", lambda logits_BV: right(logits_BV) + 0.1)
    with pytest.raises(WorkerError, match="the judge cannot run on cpu: a step on the host gives"):
        build_observer(Judge({}), "cpu")


def test_a_broken_fold_on_the_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fold(states_NS: Any, *_rest: Any) -> None:
        states_NS[:, 1:6] = np.nan

    monkeypatch.setattr(self_test, "fold_host_step", fold)
    with pytest.raises(WorkerError, match="gives logprob nan"):
        build_observer(Judge({}), "cpu")


# A worker whose judge cannot run


def run_failing_worker(pipe: Connection) -> None:
    """What a worker's process does: SGLang builds the runner, and the hook builds the judge."""
    observer.warm_up = no_compiler
    runner = SimpleNamespace(
        is_draft_worker=False,
        device="cuda",
        model_config=SimpleNamespace(vocab_size=40, dtype=torch.bfloat16),
        spec_algorithm=SimpleNamespace(is_none=lambda: True),
    )
    with reported(pipe):
        try:
            model_runner_init.PATCH.build(Judge({}))(None, runner)
            pipe.send({"status": "ready"})
        except Exception:  # noqa: BLE001  SGLang's scheduler does this: it would kill the server
            pipe.send({"status": "failed"})


def test_a_judge_that_cannot_run_ends_the_start_with_exit_code_2(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The worker ends at once, and the server says why in one line."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=run_failing_worker, args=(writer,))
    process.start()
    writer.close()
    handle = SchedulerGroup(
        pool=PoolSpec(
            index=0, tiers=(0,), name="small", model_path="m", server_args={}, replicas=1
        ),
        result=SimpleNamespace(
            wait_for_ready=lambda: _wait_for_scheduler_ready([reader], [process])
        ),
        processes=[process],
        input_address="",
        replica=None,  # type: ignore[arg-type]
        limits=None,  # type: ignore[arg-type]
        started=0.0,
        pulse=None,  # type: ignore[arg-type]
        reader=None,  # type: ignore[arg-type]
        remove_files=lambda: None,
    )
    with pytest.raises(SystemExit) as ended, one_line_exit():
        handle.wait_for_ready()
    process.join(10.0)
    assert ended.value.code == 2
    assert process.exitcode == 2
    assert capfd.readouterr().err == (
        "cascadia: error: a worker of tier small (m) did not start: "
        "the judge cannot run on cuda: no compiler for cuda, V = 40\n"
    )
