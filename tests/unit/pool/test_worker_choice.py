"""The worker that is done first takes an attempt, and every attempt teaches the next choice."""

import pytest

from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_choice import WorkerChoice
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.prefix.cached_prefixes import GUESSED_BLOCK_TOKENS, HeldPrefixes
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.speed import PublishedLoad

LIMITS = Limits(context_tokens=10_000, input_tokens=9_000, vocabulary=128)
PROMPT = Prompt(range(40 * GUESSED_BLOCK_TOKENS))


class Loads:
    """What each worker has published; a token takes a millisecond, a decode step ten."""

    def __init__(self) -> None:
        self.waiting_tokens: dict[str, int] = {}
        self.at_s = 0.0
        self.is_silent = False
        self.running = 0
        self.tokens_per_step = 1.0

    def __call__(self, worker: Worker) -> PublishedLoad | None:
        if self.is_silent:
            return None
        return PublishedLoad(
            at_s=self.at_s,
            running=self.running,
            waiting=0,
            waiting_tokens=self.waiting_tokens.get(worker.worker_id, 0),
            max_running=100,
            prefilled_tokens=1_000,
            prefill_us=1_000_000,
            decode_moments=(1.0, 1.0, 10_000.0, 1.0, 10_000.0, self.tokens_per_step),
        )


def make(rule: str = "prefix", count: int = 3) -> tuple[WorkerChoice, list[Worker], Loads]:
    pool, held, loads = WritablePool(), HeldPrefixes(), Loads()
    workers = []
    for number in range(count):
        worker = Worker(worker_id=f"small-{number}", tiers=(0,), handle=None)
        pool.add(worker)
        pool.admit(worker, LIMITS)
        held.add(worker.worker_id, 1, 100_000, False)
        workers.append(worker)
    return WorkerChoice(pool, held, rule, load_of=loads), workers, loads  # type: ignore[arg-type]


def answered(choice: WorkerChoice, rid: str, worker: Worker, prompt: Prompt, cached: int) -> None:
    choice.sent(rid, worker, prompt)
    worker.rids.add(rid)
    choice.ended(rid, worker, {"cached_tokens": cached, "completion_tokens": 8})
    worker.rids.discard(rid)


def test_a_prompt_goes_where_its_prefix_is() -> None:
    choice, workers, loads = make()
    answered(choice, "a", workers[2], PROMPT, 0)
    loads.at_s = 1e12  # all that was sent is in the load
    assert choice.pick(0, PROMPT) is workers[2]
    assert choice.pick(0, Prompt(range(9_000, 9_640))) is workers[0]


def test_it_goes_elsewhere_once_the_queue_there_takes_longer_than_it_saves() -> None:
    choice, workers, loads = make()
    answered(choice, "a", workers[2], PROMPT, 0)
    loads.at_s = 1e12
    for tokens, expected in ((600, workers[2]), (700, workers[0])):
        loads.waiting_tokens["small-2"] = tokens
        assert choice.pick(0, PROMPT) is expected


def test_what_was_sent_since_a_load_was_published_counts_as_waiting() -> None:
    choice, workers, loads = make(count=2)
    answered(choice, "warm", workers[0], Prompt(range(16)), 0)
    loads.at_s = 0.0
    for number in range(2):
        other = Prompt(range(10_000 + 1_000 * number, 10_500 + 1_000 * number))
        worker = choice.pick(0, other)
        assert worker is workers[1 - number % 2] or worker is workers[number % 2]
        choice.sent(f"r{number}", worker, other)
    assert choice.offer(workers[0], PROMPT).unseen_tokens > 0
    assert choice.offer(workers[1], PROMPT).unseen_tokens > 0
    loads.at_s = 1e12
    assert choice.offer(workers[0], PROMPT).unseen_tokens == 0


def test_a_draft_pays_where_a_decoded_token_costs_more_than_a_prefilled_one() -> None:
    choice, _, loads = make()
    assert choice.draft_break_even(0) == pytest.approx(0.1)
    assert choice.draft_break_even(1) is None
    loads.running = 3  # of the same step's ten milliseconds, a token costs a quarter
    assert choice.draft_break_even(0) == pytest.approx(0.4)


def test_a_step_that_gives_several_tokens_makes_an_attempt_shorter() -> None:
    choice, _, loads = make()
    prompt = Prompt(range(100))
    plain_s = choice.seconds(0, prompt)
    assert choice.tokens_per_step(0) == 1.0
    assert plain_s == pytest.approx(0.1 + 64 * 0.01)
    choice, _, loads = make()
    loads.tokens_per_step = 4.0
    assert choice.seconds(0, prompt) == pytest.approx(0.1 + 16 * 0.01)
    assert choice.tokens_per_step(0) == 4.0
    assert choice.tokens_per_step(1) is None


def test_without_a_load_nothing_is_said_of_drafts() -> None:
    choice, _, loads = make()
    loads.is_silent = True
    assert choice.draft_break_even(0) is None


def test_a_worker_that_is_writing_its_load_keeps_the_last_one() -> None:
    choice, workers, loads = make()
    loads.waiting_tokens["small-0"] = 5_000
    assert choice.pick(0, PROMPT) is workers[1]
    loads.is_silent = True
    assert choice.pick(0, PROMPT) is workers[1]


def test_before_anything_is_known_the_least_loaded_is_taken() -> None:
    choice, workers, loads = make()
    loads.is_silent = True
    workers[0].rids.add("x")
    assert choice.pick(0, PROMPT) is workers[1]
    assert choice.seconds(0, PROMPT) is None
    assert choice.pick(0, None) is workers[1]


def test_other_rules_look_at_no_prompt() -> None:
    choice, workers, _ = make("least_loaded")
    answered(choice, "a", workers[2], PROMPT, 0)
    assert choice.pick(0, PROMPT) is workers[0]
    choice, workers, _ = make("random")
    assert {choice.pick(0, PROMPT) for _ in range(100)} == set(workers)


def test_a_tiers_seconds_are_those_of_its_best_worker() -> None:
    choice, workers, loads = make()
    answered(choice, "a", workers[2], PROMPT, 0)
    loads.at_s = 1e12
    answered(choice, "b", workers[2], PROMPT, 640)
    assert choice.seconds(0, PROMPT) == pytest.approx(8 * 0.010)
    new = Prompt(range(9_000, 9_100))
    assert choice.seconds(0, new) == pytest.approx(0.1 + 8 * 0.010)
    assert choice.seconds(1, new) is None


def test_a_worker_that_is_gone_is_forgotten() -> None:
    choice, workers, _ = make()
    answered(choice, "a", workers[2], PROMPT, 0)
    choice.forget(workers[2])
    assert choice.held.tokens(PROMPT, ["small-2"]) == [0]
    assert choice.offer(workers[2], PROMPT).cached_tokens == 0
