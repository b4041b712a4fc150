"""SGLang's own loops of a scheduler over a made-up device, in made-up time.

The loops are SGLang's. What they call takes a fixed time: choosing and launching a batch, reading a
result. The device works through what was launched, one batch after the other.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sglang.srt.managers.scheduler import Scheduler

from cascadia_patches.registry import STEP_LOG_PATCHES, load_patch

CHOOSE_S, LAUNCH_S, READ_S = 0.0005, 0.001, 0.0005
PAUSE_S = 0.5


class Clock:
    """Time that passes only where somebody spends it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class _Batch:
    def __init__(self, kind: str, device_s: float) -> None:
        is_decode = kind == "decode"
        self.kind, self.device_s = kind, device_s
        self.forward_iter: int | None = None
        self.forward_mode = SimpleNamespace(
            is_decode=lambda: is_decode,
            is_idle=lambda: False,
            is_extend=lambda: not is_decode,
            is_target_verify=lambda: False,
        )
        self.reqs = [SimpleNamespace(seqlen=10)]
        self.extend_lens, self.prefix_lens, self.extend_num_tokens = [10], [0], 10

    def copy(self) -> "_Batch":
        return self


class _Scheduler:
    """What SGLang's loops ask of their scheduler; `kinds` None is a look without a batch."""

    max_total_num_tokens = 5000
    max_running_requests = 7
    chunked_prefill_size = None
    max_prefill_tokens = 16384
    new_token_ratio_tracker = SimpleNamespace(init=0.7)
    model_config = SimpleNamespace(vocab_size=1000, context_len=2048)
    spec_algorithm = SimpleNamespace(is_none=lambda: True)
    is_generation, enable_unified_memory, _engine_paused = True, False, False

    def __init__(self, clock: Clock, todo: Sequence[tuple[str, float] | None], *, overlap: bool):
        self.device, self.enable_overlap = "cuda", overlap
        self._clock, self._todo = clock, list(todo)
        self._device_free_s = 0.0
        self._sched_idled, self.gracefully_exit = False, False
        self.forward_ct = 0
        self.running_batch = self.last_batch = self.cur_batch_for_debug = None

    def ingest_requests(self) -> None:
        self.gracefully_exit = not self._todo and self.last_batch is None

    def get_next_batch_to_run(self, **_: Any) -> Any:
        self._clock.now_s += CHOOSE_S
        next_one = self._todo.pop(0) if self._todo else None
        batch = None if next_one is None else _Batch(*next_one)
        return SimpleNamespace(running_batch=None, batch_to_run=batch)

    def is_disable_overlap_for_batch(self, batch: Any, last_batch: Any) -> bool:
        """As SGLang has it: two prefills in a row do not overlap."""
        return bool(batch and last_batch and {batch.kind, last_batch.kind} == {"prefill"})

    def run_batch(self, batch: Any) -> Any:
        self.forward_ct += 1
        batch.forward_iter = self.forward_ct
        self._sched_idled = False
        self._clock.now_s += LAUNCH_S
        self._device_free_s = max(self._device_free_s, self._clock.now_s) + batch.device_s
        # SGLang's serial loop has no event: the device is waited for as a whole.
        done = _Event(self._clock, self._device_free_s) if self.enable_overlap else None
        return SimpleNamespace(copy_done=done, accept_lens=None)

    @property
    def device_module(self) -> "_Event":
        return _Event(self._clock, self._device_free_s)

    def process_batch_result(self, _batch: Any, result: Any) -> None:
        (result.copy_done or self.device_module).synchronize()
        self._clock.now_s += READ_S

    def _apply_war_barrier(self) -> None: ...

    def launch_batch_sample_if_needed(self, *_: Any) -> None: ...

    def on_idle(self) -> None:
        self._clock.now_s += PAUSE_S


class _Event:
    def __init__(self, clock: Clock, done_s: float) -> None:
        self._clock, self._done_s = clock, done_s

    def synchronize(self) -> None:
        self._clock.now_s = max(self._clock.now_s, self._done_s)


def run_logged(
    log: Any, clock: Clock, todo: Sequence[tuple[str, float] | None], *, overlap: bool
) -> None:
    """Run these batches through SGLang's loop, with the hooks of a step log in place.

    Args:
        todo: `prefill` or `decode` and the device's seconds; None where there is nothing to do.
    """
    scheduler: Any = _Scheduler(clock, todo, overlap=overlap)
    for patch in map(load_patch, STEP_LOG_PATCHES):
        name = patch.target.rpartition(".")[2]
        setattr(scheduler, name, _hooked(scheduler, getattr(scheduler, name), patch, log))
    loop = Scheduler.event_loop_overlap if overlap else Scheduler.event_loop_normal
    loop(scheduler)


def _hooked(scheduler: Any, method: Any, patch: Any, log: Any) -> Any:
    hook = patch.build(log)
    if patch.hook_type == "around":
        return lambda *args: hook(lambda _, *inner: method(*inner), scheduler, *args)

    def before(*args: Any) -> Any:
        hook(scheduler, *args)
        return method(*args)

    return before
