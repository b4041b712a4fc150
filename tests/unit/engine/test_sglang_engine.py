"""The engine behind the router, over a scripted `generate_request`."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fastapi import HTTPException
from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.engine.sglang_engine import TokenizerEngine
from cascadia_sglang.engine.voice_views import VoiceViews
from cascadia_sglang.errors import (
    AttemptFailedError,
    AttemptMovedError,
    OverloadError,
    RequestError,
    WorkerDiedError,
    WorkerLostError,
    WorkerUnavailableError,
)
from cascadia_sglang.messages import ATTEMPT_KEY, REPORT_KEY, AttemptOrder, JudgeReport
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.sessions import Sessions
from cascadia_sglang.pool.worker_choice import WorkerChoice
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.prefix.cached_prefixes import HeldPrefixes
from cascadia_sglang.prefix.prompt import LONG_TOKENS

ORDER = AttemptOrder(tier_index=0, threshold=0.8, early_abort=0.05, earlier_scores=())
LIMITS = Limits(context_tokens=100, input_tokens=90, vocabulary=128)

TIERS = [
    TierConfig(name="small", model_path="a"),
    TierConfig(
        name="large", model_path="b", sampling={"temperature": 0.0}, prompt_suffix="<think>"
    ),
]


class FakeManager:
    """What the engine needs of SGLang's tokenizer manager."""

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(encode=lambda text, **_: [len(text)])
        self.rid_to_state: dict[str, Any] = {}
        self.session_futures: dict[str, asyncio.Future[str]] = {}
        self.enable_metrics = False
        self.server_args = SimpleNamespace(enable_custom_logit_processor=False)
        self.async_dynamic_batch_tokenizer = None

    def _set_default_priority(self, request: GenerateReqInput) -> None:
        request.priority = 0

    async def _tokenize_texts(self, text: str) -> tuple[list[int], None]:
        return [ord(letter) for letter in text], None


class ScriptedAnswers:
    """Stands in for SGLang's own `generate_request`: one answer, or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.attempts: list[GenerateReqInput] = []
        self.closed = 0
        self._error = error

    async def __call__(
        self, manager: Any, attempt: GenerateReqInput, request: Any
    ) -> AsyncIterator[dict[str, Any]]:
        del manager, request
        self.attempts.append(attempt)
        try:
            await asyncio.sleep(0)
            if self._error is not None:
                raise self._error
            report = JudgeReport(score=0.7, early_abort=False).to_meta()
            yield {"text": "4", "meta_info": {"id": attempt.rid, REPORT_KEY: report}}
        finally:
            self.closed += 1


def empty() -> tuple[WritablePool, WorkerChoice]:
    pool = WritablePool()
    return pool, WorkerChoice(pool, HeldPrefixes(), load_of=lambda _: None)


def idle_engine(tiers: list[TierConfig]) -> TokenizerEngine:
    """Without a worker; the second tier judges answers under a grammar."""
    views = one_voice(tiers)
    views.connect(FakeManager())  # type: ignore[arg-type]
    engine = TokenizerEngine(
        tiers, *empty(), Sessions(), 2, lambda *_: None, {1}, views=views, max_samples=2
    )
    engine.connect(FakeManager(), ScriptedAnswers())  # type: ignore[arg-type]
    return engine


def one_voice(tiers: list[TierConfig]) -> VoiceViews:
    """Of these tiers, whose arguments nobody asks for."""
    return VoiceViews(Voices.single([tier.name for tier in tiers]), None)  # type: ignore[arg-type]


def make_engine(
    generate: ScriptedAnswers | None = None, held: HeldPrefixes | None = None
) -> tuple[TokenizerEngine, WritablePool, Worker]:
    pool, worker = WritablePool(), Worker(worker_id="small-0", tiers=(0, 1), handle=None)
    pool.add(worker)
    pool.admit(worker, LIMITS)
    faults: list[Worker] = []
    choice = WorkerChoice(pool, held or HeldPrefixes(), load_of=lambda _: None)
    manager, views = FakeManager(), one_voice(TIERS)
    views.connect(manager)  # type: ignore[arg-type]
    engine = TokenizerEngine(
        TIERS,
        pool,
        choice,
        Sessions(),
        2,
        lambda worker, _: faults.append(worker),
        views=views,
        max_samples=2,
    )
    engine.faults = faults  # type: ignore[attr-defined]
    engine.connect(manager, generate or ScriptedAnswers())  # type: ignore[arg-type]
    return engine, pool, worker


def make_sample(**fields: Any) -> GenerateReqInput:
    engine, _, _ = make_engine()
    request = GenerateReqInput(**{"text": "add 1 3", "rid": "caller", **fields})
    return engine.split(request)[0][0]


@pytest.mark.parametrize(("algorithm", "is_judged"), [("NGRAM", True), ("DFLASH", False)])
def test_a_tier_is_judged_unless_its_speculation_hides_the_logits(
    algorithm: str, is_judged: bool
) -> None:
    arguments = {"speculative_algorithm": algorithm}
    tiers = [TIERS[0], TierConfig(name="large", model_path="b", server_args=arguments)]
    engine = idle_engine(tiers)
    sample = make_sample()
    assert [engine.is_judgeable(sample, tier) for tier in (0, 1)] == [True, is_judged]


# Splitting


def split(**fields: Any) -> list[list[tuple[str, str]]]:
    """Text and rid of every sample, by prompt."""
    engine, _, _ = make_engine()
    prompts = engine.split(GenerateReqInput(**fields))
    return [[(sample.text, sample.rid) for sample in samples] for samples in prompts]


def test_a_single_request_is_one_sample_under_its_own_rid() -> None:
    assert split(text="a", rid="x") == [[("a", "x")]]


def test_a_batch_is_one_prompt_each_under_its_own_rid() -> None:
    assert split(text=["a", "b"], rid=["x", "y"]) == [[("a", "x")], [("b", "y")]]


@pytest.mark.parametrize(
    "rid", ["x", ["x"], None], ids=["one-rid", "a-list-that-names-the-prompt", "none"]
)
def test_samples_of_a_prompt_stay_together_under_rids_of_their_own(rid: Any) -> None:
    ((first, second),) = split(text="a", rid=rid, sampling_params={"n": 2})
    assert first[0] == second[0] == "a"
    assert first[1] != second[1]


def test_samples_of_a_batch_are_grouped_by_prompt() -> None:
    prompts = split(text=["a", "b"], rid=["x", "y"], sampling_params={"n": 2})
    assert prompts == [[("a", "x_0"), ("a", "x_1")], [("b", "y_0"), ("b", "y_1")]]


def test_a_rid_used_twice_in_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="Duplicate request IDs"):
        split(text=["a", "b"], rid=["x", "x"])


# Tokens and limits


def test_a_tokenised_prompt_has_its_ids() -> None:
    engine, _, _ = make_engine()
    sample = make_sample(text="ab")
    assert engine.prompt_ids(sample) is None
    asyncio.run(engine.tokenise([sample], 0))
    assert engine.prompt_ids(sample) == [ord("a"), ord("b")]


async def test_a_prompt_is_tokenised_once_for_all_samples() -> None:
    engine, _, _ = make_engine()
    (samples,) = engine.split(GenerateReqInput(text="ab", sampling_params={"n": 2}))
    assert await engine.tokenise(samples, 0) == 2
    assert [(sample.input_ids, sample.text) for sample in samples] == [([97, 98], None)] * 2


async def test_a_long_prompt_is_hashed_once_before_its_worker_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = HeldPrefixes()
    held.add("small-0", page_tokens=16, capacity_tokens=1 << 20, has_events=True)
    engine, _, _ = make_engine(held=held)
    request = GenerateReqInput(input_ids=[7] * (2 * LONG_TOKENS), sampling_params={"n": 2})
    (samples,) = engine.split(request)
    await engine.tokenise(samples, 0)
    # What is not hashed by now would be hashed without a turn for other requests.
    monkeypatch.setattr("cascadia_sglang.prefix.prompt.block_hashes", None)
    hashes = [engine.prompt(sample, tier).hashes(16) for sample in samples for tier in (0, 1)]
    assert len(hashes[0]) == 2 * LONG_TOKENS // 16
    assert all(one is hashes[0] for one in hashes)


async def test_a_long_prompt_is_hashed_for_the_workers_of_a_larger_tier_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = HeldPrefixes()
    engine, pool, _ = make_engine(held=held)
    large = Worker(worker_id="large-0", tiers=(1,), handle=None)
    pool.add(large)
    pool.admit(large, LIMITS)
    held.add("large-0", page_tokens=64, capacity_tokens=1 << 20, has_events=True)
    (samples,) = engine.split(GenerateReqInput(input_ids=[7] * LONG_TOKENS))
    await engine.tokenise(samples, 0)
    monkeypatch.setattr("cascadia_sglang.prefix.prompt.block_hashes", None)
    assert len(engine.prompt(samples[0], 1).hashes(64)) == LONG_TOKENS // 64


async def test_a_prompt_that_comes_as_tokens_is_left_as_it_is() -> None:
    engine, _, _ = make_engine()
    (samples,) = engine.split(GenerateReqInput(input_ids=[5, 6, 7]))
    assert await engine.tokenise(samples, 0) == 3
    assert samples[0].input_ids == [5, 6, 7]


@pytest.mark.parametrize(
    ("params", "judgeable"),
    [
        ({}, True),
        ({"temperature": 0, "stop": ["\n"]}, True),
        ({"json_schema": "{}"}, False),
        ({"regex": "[0-9]+"}, False),
        ({"ebnf": "root ::= 'a'"}, False),
        ({"structural_tag": "{}"}, False),
        ({"regex": None}, True),
        ({"max_new_tokens": 0}, False),
        ({"max_new_tokens": 1}, True),
    ],
    ids=str,
)
def test_only_an_answer_that_the_sampler_chose_freely_can_be_judged(
    params: dict[str, Any], judgeable: bool
) -> None:
    engine, _, _ = make_engine()
    assert engine.is_judgeable(make_sample(sampling_params=params), 0) == judgeable


def test_an_answer_under_a_grammar_is_judged_where_the_calibration_knows_enough_of_them() -> None:
    engine = idle_engine(TIERS)
    sample = make_sample(sampling_params={"regex": "[0-9]+"})
    assert [engine.is_judgeable(sample, tier) for tier in (0, 1)] == [False, True]
    sample = make_sample(sampling_params={"regex": "[0-9]+", "max_new_tokens": 0})
    assert not engine.is_judgeable(sample, 1)


# Runs


async def test_a_run_gives_the_answer_and_keeps_the_judges_report_from_the_client() -> None:
    generate = ScriptedAnswers()
    engine, pool, worker = make_engine(generate)
    output, report = await engine.run(make_sample(), "attempt-1", ORDER)
    assert output == {"text": "4", "meta_info": {"id": "attempt-1"}}
    assert report == JudgeReport(score=0.7, early_abort=False)
    assert worker.rids == set()
    assert pool.worker_of("attempt-1") is None
    assert generate.closed == 1


async def test_an_attempt_carries_its_order_beside_the_clients_own_parameters() -> None:
    generate = ScriptedAnswers()
    engine, _, _ = make_engine(generate)
    sample = make_sample(
        stream=True, sampling_params={"temperature": 0.5, "custom_params": {"own": 1}}
    )
    await engine.run(sample, "attempt-1", ORDER)
    (attempt,) = generate.attempts
    assert (attempt.rid, attempt.stream) == ("attempt-1", False)
    assert attempt.sampling_params["temperature"] == 0.5
    assert attempt.sampling_params["custom_params"] == {"own": 1, ATTEMPT_KEY: ORDER.to_params()}
    assert sample.rid == "caller"
    assert sample.sampling_params["custom_params"] == {"own": 1}


async def test_a_tiers_sampling_and_suffix_hold_for_that_tier_alone() -> None:
    generate = ScriptedAnswers()
    engine, _, _ = make_engine(generate)
    sample = make_sample(sampling_params={"temperature": 0.5, "top_p": 0.9})
    await engine.tokenise([sample], 0)
    prompt = list(sample.input_ids)
    for tier_index in (1, 0):
        order = AttemptOrder(
            tier_index=tier_index,
            threshold=0.8,
            early_abort=None,
            earlier_scores=(None,) * tier_index,
        )
        await engine.run(sample, f"attempt-{tier_index}", order)
    large, small = generate.attempts
    assert (large.input_ids, small.input_ids) == ([*prompt, len("<think>")], prompt)
    assert [attempt.sampling_params["temperature"] for attempt in (large, small)] == [0.0, 0.5]
    assert [attempt.sampling_params["top_p"] for attempt in (large, small)] == [0.9, 0.9]


async def test_a_tier_without_a_worker_is_told_by_its_name() -> None:
    engine, pool, worker = make_engine()
    pool.drain(worker)
    with pytest.raises(WorkerUnavailableError, match="tier small has no worker"):
        await engine.run(make_sample(), "attempt-1", ORDER)


@pytest.mark.parametrize(
    ("error", "lost", "expected", "faults"),
    [
        (RuntimeError("gone"), True, WorkerLostError, 0),
        (HTTPException(500, "out of memory"), False, AttemptFailedError, 1),
        (HTTPException(503, "the queue is full"), False, HTTPException, 0),
        (HTTPException(429, "too many"), False, HTTPException, 0),
        (HTTPException(400, "too long"), False, HTTPException, 0),
        (RuntimeError("broken"), False, RuntimeError, 0),
        (ValueError("too long"), False, ValueError, 0),
    ],
    ids=["lost", "internal", "full", "too-many", "refused", "own-bug", "refused-here"],
)
async def test_only_a_lost_or_failing_worker_sends_an_attempt_on(
    error: Exception, lost: bool, expected: type[Exception], faults: int
) -> None:
    generate = ScriptedAnswers(error)
    engine, pool, worker = make_engine(generate)
    run = asyncio.ensure_future(engine.run(make_sample(), "attempt-1", ORDER))
    await asyncio.sleep(0)
    if lost:
        pool.remove(worker)
    with pytest.raises(expected):
        await run
    assert engine.faults == [worker] * faults  # type: ignore[attr-defined]
    assert pool.worker_of("attempt-1") is None
    assert generate.closed == 1


async def test_a_cancelled_run_closes_what_it_began() -> None:
    generate = ScriptedAnswers()
    engine, pool, _ = make_engine(generate)
    run = asyncio.ensure_future(engine.run(make_sample(), "attempt-1", ORDER))
    await asyncio.sleep(0)
    assert pool.worker_of("attempt-1") is not None
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert pool.worker_of("attempt-1") is None
    assert generate.closed == 1


def test_the_attempts_of_a_lost_worker_are_ended_as_refused() -> None:
    engine, pool, worker = make_engine()
    states = {
        rid: SimpleNamespace(out_list=[], finished=False, event=asyncio.Event())
        for rid in ("lost-1", "other-1")
    }
    engine._manager.rid_to_state.update(states)
    pool.assign("lost-1", worker)
    pool.assign("already-over", worker)
    engine.fail_attempts(worker)
    assert states["lost-1"].finished
    assert states["lost-1"].event.is_set()
    assert states["lost-1"].out_list[0]["meta_info"]["finish_reason"]["status_code"] == 503
    assert not states["other-1"].finished
    assert engine._manager.rid_to_state.keys() == {"other-1"}


async def test_who_waits_for_a_session_of_a_lost_worker_is_told_and_others_wait_on() -> None:
    engine, _, worker = make_engine()
    other = Worker(worker_id="small-1", tiers=(0, 1), handle=None)
    opening, elsewhere = asyncio.Future[str](), asyncio.Future[str]()
    engine._manager.session_futures.update(opening=opening, elsewhere=elsewhere)
    for name, holder in (("opening", worker), ("open", worker), ("elsewhere", other)):
        engine._sessions.open(name, holder)
    engine.end_sessions(worker)
    with pytest.raises(RequestError, match="worker small-0 was lost while it opened a session"):
        await opening
    assert not elsewhere.done()
    for name in ("opening", "open"):
        with pytest.raises(RequestError, match="is not open"):
            engine._sessions.worker_of({"id": name})
    assert engine._sessions.worker_of({"id": "elsewhere"}) is other


async def test_an_attempt_that_was_failed_over_may_run_again_though_its_worker_lives() -> None:
    """As where the detokenizer was lost: the worker itself is told to end the attempt."""
    sent: list[bytes] = []
    generate = ScriptedAnswers(KeyError("attempt-1"))
    engine, _, worker = make_engine(generate)
    worker.socket = SimpleNamespace(
        send_pyobj=lambda message, **_: sent.append(message),
    )
    run = asyncio.ensure_future(engine.run(make_sample(), "attempt-1", ORDER))
    await asyncio.sleep(0)
    engine.fail_attempts(worker)
    with pytest.raises(WorkerLostError):
        await run
    assert sent
    assert engine._lost._lost == set()


async def test_the_attempts_of_a_worker_that_died_by_its_own_error_know_its_death() -> None:
    explained: list[str] = []
    engine, pool, worker = make_engine(ScriptedAnswers(KeyError("gone")))
    rids = ["attempt-1", "attempt-2"]
    runs = [asyncio.ensure_future(engine.run(make_sample(), rid, ORDER)) for rid in rids]
    await asyncio.sleep(0)
    pool.remove(worker)
    engine.fail_attempts(worker, lambda: explained.append(worker.worker_id))
    ends = await asyncio.gather(*runs, return_exceptions=True)
    first, second = (error.death for error in ends if isinstance(error, WorkerDiedError))
    assert first is second
    # The youngest first; and all of them have heard of it.
    assert first.rids == ["attempt-2", "attempt-1"]
    assert first.unheard == set()
    first.explain()
    assert explained == ["small-0"]


async def test_an_attempt_that_is_bound_to_a_worker_runs_on_no_other() -> None:
    engine, pool, _ = make_engine()
    other = Worker(worker_id="small-1", tiers=(0, 1), handle=None)
    pool.add(other)
    pool.admit(other, LIMITS)
    bound = msgspec.structs.replace(ORDER, worker_id="small-1")
    run = asyncio.ensure_future(engine.run(make_sample(), "attempt-1", bound))
    await asyncio.sleep(0)
    assert pool.worker_of("attempt-1") is other
    await run
    pool.remove(other)
    with pytest.raises(WorkerLostError):
        await engine.run(make_sample(), "attempt-2", bound)


async def test_a_full_queue_refuses_no_attempt_that_was_lost_elsewhere() -> None:
    engine, pool, worker = make_engine()
    for number in range(2):
        pool.assign(f"held-{number}", worker)
    await engine.run(make_sample(), "attempt-1", msgspec.structs.replace(ORDER, is_retry=True))


async def test_a_waiting_attempt_is_moved_the_youngest_first_and_its_worker_told() -> None:
    sent: list[bytes] = []
    engine, pool, worker = make_engine(ScriptedAnswers(KeyError("gone")))
    worker.socket = SimpleNamespace(send_pyobj=lambda message, **_: sent.append(message))
    runs = [
        asyncio.ensure_future(engine.run(make_sample(), f"attempt-{number}", ORDER))
        for number in range(2)
    ]
    await asyncio.sleep(0)
    engine.move_attempts(worker, 1)
    # A worker that is to end still has them.
    pool.drain(worker)
    with pytest.raises(AttemptMovedError):
        await runs[1]
    assert len(sent) == 1
    with pytest.raises(KeyError):
        await runs[0]
    assert engine._lost._moved == engine._lost._movable == engine._lost._lost == set()


async def test_an_attempt_of_which_a_token_was_seen_stays() -> None:
    engine, _, worker = make_engine()
    outputs = engine.stream(make_sample(), "attempt-1", ORDER)
    await anext(outputs)
    engine.move_attempts(worker, 1)
    assert engine._lost._lost == set()
    await outputs.aclose()


async def test_what_an_aborted_attempt_left_goes_with_its_worker() -> None:
    engine, _, worker = make_engine()
    run = asyncio.ensure_future(engine.run(make_sample(), "attempt-1", ORDER))
    await asyncio.sleep(0)
    # SGLang keeps the state of an aborted request until the worker says that it has ended.
    engine._manager.rid_to_state["attempt-1"] = SimpleNamespace()
    run.cancel()
    await asyncio.wait([run])
    assert worker.ending == {"attempt-1"}
    engine.fail_attempts(worker)
    assert engine._manager.rid_to_state == {}
    assert worker.ending == set()


async def test_a_worker_that_holds_all_that_it_may_takes_no_more() -> None:
    engine, pool, worker = make_engine()
    for number in range(2):
        pool.assign(f"held-{number}", worker)
    with pytest.raises(OverloadError, match="tier small is full"):
        await engine.run(make_sample(), "attempt-1", ORDER)
    pool.release("held-0")
    await engine.run(make_sample(), "attempt-2", ORDER)
