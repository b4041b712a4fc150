"""A tier that decodes speculatively answers and is judged as one that does not.

One server with the small model four times: with chains of drafts, as it is, with trees of drafts,
and with chains over two ranks.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cascadia_sglang.judge.calibration import ScoreModel, load_calibration
from cascadia_sglang.judge.features import FEATURES
from demo import MODELS
from demo.tasks.splits import sample
from tests.system.serving import Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

# In fp32; a verification adds up in another order than a step of one token.
TOLERANCE = 1e-4
THRESHOLD, EARLY_ABORT = 0.9, 0.05
CHAIN = {
    "speculative_algorithm": "NGRAM",
    "speculative_num_draft_tokens": 8,
    "speculative_ngram_max_bfs_breadth": 1,
}
TREE = {
    "speculative_algorithm": "NGRAM",
    "speculative_num_draft_tokens": 12,
    "speculative_ngram_min_bfs_breadth": 2,
    "speculative_ngram_max_bfs_breadth": 4,
}
TIERS = {"chain": CHAIN, "plain": {}, "tree": TREE, "ranks": {**CHAIN, "tp_size": 2}}
COMMON = {
    "max_total_tokens": 16384,
    "mem_fraction_static": 0.5,
    "disable_radix_cache": True,
    "dtype": "float32",
}
PROMPTS = [row.prompt for row in sample("test", 71_000, 500)]
SOME = PROMPTS[:100]
SAMPLED_TOKENS = 24
GREEDY = {"temperature": 0, "max_new_tokens": 128}
CALIBRATION = MODELS / "small" / "calibration.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("speculation")
    tiers = [
        {
            "name": name,
            "model_path": str(MODELS / "small"),
            "server_args": {**COMMON, **arguments},
        }
        for name, arguments in TIERS.items()
    ]
    tiers[0]["calibration"] = str(CALIBRATION)
    config = {
        "version": 1,
        "tiers": tiers,
        "routing": {
            "thresholds": [THRESHOLD] * 3,
            "early_abort": EARLY_ABORT,
            "drafts": {"use": "on"},
        },
        "judge": {"record": True},
    }
    path = folder / "cascade.json"
    path.write_text(json.dumps(config))
    server = start(
        folder,
        *("--plugin", "cascadia", "--cascade-config", str(path)),
        environment={"SGLANG_CPU_OMP_THREADS_BIND": "0|1"},
    )
    try:
        # The first start ever compiles SGLang's corpus of n-grams.
        server.wait_until_ready(within_s=300)
        yield server
    finally:
        server.stop()


Answer = dict[str, Any]


def ask(server: Server, prompts: list[str], headers: dict[str, str], **params: Any) -> list[Answer]:
    answers: list[Answer] = []
    with server.client(timeout=300) as client:
        for first in range(0, len(prompts), 100):
            body = {"text": prompts[first : first + 100], "sampling_params": {**GREEDY, **params}}
            reply = client.post("/generate", json=body, headers=headers)
            assert reply.status_code == 200, reply.text
            answers.extend(reply.json())
    return answers


def pinned(server: Server, tier: str, prompts: list[str], **params: Any) -> list[Answer]:
    return ask(server, prompts, {"x-cascadia-tier": tier}, **params)


def record_of(answer: Answer) -> dict[str, Any]:
    (attempt,) = answer["meta_info"]["cascadia"]["attempts"]
    record: dict[str, Any] = attempt["record"]
    return record


def assert_same(answers: list[Answer], plain: list[Answer]) -> None:
    """Token by token, and feature by feature at every checkpoint."""
    for answer, expected in zip(answers, plain, strict=True):
        assert answer["output_ids"] == expected["output_ids"]
        record, right = record_of(answer), record_of(expected)
        assert record["tokens"] == right["tokens"]
        for row, expected_row in zip(record["features"], right["features"], strict=True):
            for name, value, other in zip(FEATURES, row, expected_row, strict=True):
                if value is None or other is None:
                    assert value == other, name
                else:
                    assert math.isclose(value, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE), name


@pytest.fixture(scope="module")
def plain(server: Server) -> list[Answer]:
    return pinned(server, "plain", PROMPTS)


@pytest.fixture(scope="module")
def drafted(server: Server) -> list[Answer]:
    return pinned(server, "chain", PROMPTS)


def test_answers_and_features_are_those_of_plain_decoding(
    drafted: list[Answer], plain: list[Answer]
) -> None:
    assert_same(drafted, plain)


@pytest.mark.parametrize("tier", ["tree", "ranks"])
def test_so_they_are_with_trees_and_over_two_ranks(
    tier: str, server: Server, plain: list[Answer]
) -> None:
    assert_same(pinned(server, tier, SOME), plain[: len(SOME)])


def end_of(record: dict[str, Any], model: ScoreModel) -> tuple[str, int]:
    """How an attempt that began with the first tier ends, by its features on the way."""
    rows = [np.array([np.nan if x is None else x for x in row]) for row in record["features"]]
    for tokens, row in zip(record["tokens"][:-1], rows[:-1], strict=True):
        if model.has_checkpoint(tokens):
            chance = model.chance_of_acceptance(tokens, row, THRESHOLD)
            if chance < EARLY_ABORT:
                return "early_abort", tokens
    score = model.score(rows[-1])
    return ("accepted" if score >= THRESHOLD else "below_threshold"), record["tokens"][-1]


def test_decisions_are_those_of_plain_decoding(server: Server, plain: list[Answer]) -> None:
    """The tier's own, in the server, against those on the features of plain decoding."""
    model = ScoreModel(load_calibration(CALIBRATION))
    answers = ask(server, PROMPTS, {"x-cascadia-max-tier": "plain"})
    ends = defaultdict(int)
    for answer, right in zip(answers, plain, strict=True):
        first = answer["meta_info"]["cascadia"]["attempts"][0]
        reason, tokens = end_of(record_of(right), model)
        assert (first["tier"], first["reason"]) == ("chain", reason)
        if reason == "early_abort":
            # The rest of the run was written already.
            assert first["record"]["tokens"][-1] == tokens
        else:
            assert first["tokens"] == tokens
        assert answer["output_ids"] == right["output_ids"]
        ends[reason] += 1
    assert min(ends[reason] for reason in ("accepted", "below_threshold", "early_abort")) > 10


@pytest.mark.parametrize("most", [1, 3, 10])
def test_an_answer_is_cut_off_within_a_run(most: int, server: Server) -> None:
    limited = {"max_new_tokens": most}
    answers = pinned(server, "chain", SOME, **limited)
    assert_same(answers, pinned(server, "plain", SOME, **limited))
    assert all(len(answer["output_ids"]) <= most for answer in answers)


@pytest.mark.parametrize("stop", ["=", "0"])
def test_a_stop_string_ends_an_answer_within_a_run(stop: str, server: Server) -> None:
    answers = pinned(server, "chain", SOME, stop=stop)
    assert_same(answers, pinned(server, "plain", SOME, stop=stop))
    assert any(answer["meta_info"]["finish_reason"].get("matched") == stop for answer in answers)


@pytest.mark.parametrize("regex", ["[0-9]{7}", "[a-j]{3,9}", "[0-9= +]{4,20}"])
def test_a_grammar_forces_the_same_steps(regex: str, server: Server) -> None:
    answers = pinned(server, "chain", SOME, regex=regex)
    assert_same(answers, pinned(server, "plain", SOME, regex=regex))
    column = FEATURES.index("forced_share")
    shares = {record_of(answer)["features"][-1][column] for answer in answers}
    assert len(shares) > 1


def test_a_bias_is_not_part_of_what_is_judged(server: Server) -> None:
    bias = {"logit_bias": {"5": 3.0, "9": -4.0}}
    assert_same(pinned(server, "chain", SOME, **bias), pinned(server, "plain", SOME, **bias))


def test_samples_of_one_prompt_are_judged_each(server: Server) -> None:
    body = {"model": "chain", "prompt": "rev hgfabcd", "n": 2, "max_tokens": 32, "temperature": 0}
    with server.client() as client:
        reply = client.post("/v1/completions", json=body).json()
        alone = client.post("/v1/completions", json={**body, "n": 1}).json()
    texts = [choice["text"] for choice in reply["choices"]]
    assert texts == [alone["choices"][0]["text"]] * 2


@pytest.mark.parametrize("mode", ["buffered", "commit"])
def test_a_stream_has_the_whole_answer(mode: str, server: Server, plain: list[Answer]) -> None:
    headers = {"x-cascadia-stream": mode, "x-cascadia-max-tier": "plain"}
    with server.client() as client:
        for prompt, right in zip(SOME[:10], plain, strict=False):
            body = {"model": "cascadia", "prompt": prompt, "stream": True, "max_tokens": 128}
            body["temperature"] = 0
            reply = client.post("/v1/completions", json=body, headers=headers)
            lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
            text = "".join(json.loads(line)["choices"][0]["text"] for line in lines)
            assert text == right["text"], prompt


Counts = dict[tuple[str, tuple[int, ...]], dict[int, int]]


def counted(prompts: list[str], answers: list[list[int]]) -> Counts:
    """How often each token came next, by prompt and the tokens before it."""
    counts: Counts = defaultdict(lambda: defaultdict(int))
    for prompt, tokens in zip(prompts, answers, strict=True):
        for index, token in enumerate(tokens):
            counts[prompt, tuple(tokens[:index])][token] += 1
    return counts


def chance_of_one_distribution(first: Counts, second: Counts) -> float:
    """Chi-square over the next token by context, of which each answer draws once."""
    statistic, freedom = 0.0, 0
    for context in first.keys() & second.keys():
        rows = [first[context], second[context]]
        drawn = [sum(r.values()) for r in rows]
        # Chosen by the expected counts alone: a choice by the observed ones would favour chance.
        least = 5 * sum(drawn) / min(drawn)
        likely = [t for t in rows[0].keys() | rows[1].keys() if sum(r[t] for r in rows) >= least]
        table = np.array([[*(r[t] for t in likely), 0] for r in rows])
        table[:, -1] = drawn - table.sum(axis=1)
        table = table[:, table.sum(axis=0) >= least]
        if table.shape[1] > 1:
            test = stats.chi2_contingency(table, correction=False)
            statistic, freedom = statistic + test.statistic, freedom + test.dof
    assert freedom >= 20
    return float(stats.chi2.sf(statistic, freedom))


def assert_one_distribution(draw: Callable[[], tuple[Counts, Counts]]) -> None:
    """Where two samples look different, two new ones decide: chance alone makes 1 of 1,000 so."""
    chances = [chance_of_one_distribution(*draw())]
    if chances[0] <= 0.001:
        chances.append(chance_of_one_distribution(*draw()))
    assert chances[-1] > 0.001, chances


@pytest.fixture(scope="module")
def unsure(plain: list[Answer]) -> list[str]:
    """Prompts with answers that the model is not sure of, each many times."""
    entropy = FEATURES.index("mean_entropy")
    answered = [
        (record_of(answer)["features"][-1][entropy], prompt)
        for prompt, answer in zip(PROMPTS, plain, strict=True)
        if len(answer["output_ids"]) >= 6
    ]
    return [prompt for _, prompt in sorted(answered)[-8:] for _ in range(500)]


def sampled(server: Server, tier: str, prompts: list[str], temperature: float) -> list[Answer]:
    sampling = {"temperature": temperature, "max_new_tokens": SAMPLED_TOKENS}
    answers = pinned(server, tier, prompts, **sampling)
    assert sum(len(answer["output_ids"]) for answer in answers) >= 20_000
    return answers


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_sampled_tokens_have_the_distribution_of_plain_decoding(
    temperature: float, server: Server, unsure: list[str]
) -> None:
    def draw() -> tuple[Counts, Counts]:
        samples = [sampled(server, tier, unsure, temperature) for tier in ("chain", "plain")]
        ids = [[answer["output_ids"] for answer in answers] for answers in samples]
        return counted(unsure, ids[0]), counted(unsure, ids[1])

    assert_one_distribution(draw)


# Drafts, of the client


def predicted(
    server: Server, tier: str, prompts: list[str], drafts: list[str], **params: Any
) -> list[Answer]:
    def ask(prompt: str, draft: str) -> Answer:
        body = {
            "model": tier,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 128,
            "temperature": 0,
            "prediction": {"type": "content", "content": draft},
            **params,
        }
        reply = client.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        return {**reply.json(), "total": int(reply.headers["x-cascadia-total-tokens"])}

    with server.client(timeout=300) as client, ThreadPoolExecutor(16) as threads:
        return list(threads.map(ask, prompts, drafts))


def text_of(answer: Answer) -> str:
    text: str = answer["choices"][0]["message"]["content"] or ""
    return text


def other(text: str) -> str:
    """With another character in the middle."""
    half = len(text) // 2
    return f"{text[:half]}{'7' if text[half : half + 1] != '7' else '3'}{text[half + 1 :]}"


DRAFTS = {
    "right": lambda text: text,
    "a difference": other,
    "garbage": lambda text: "gab" * (len(text) // 2),
    "empty": lambda _: "",
    "too long": lambda text: 40 * (text + " "),
    "ended early": lambda text: text[: len(text) // 2],
}


@pytest.mark.parametrize("tier", ["chain", "tree"])
@pytest.mark.parametrize("kind", DRAFTS)
def test_a_draft_changes_no_answer(
    kind: str, tier: str, server: Server, plain: list[Answer]
) -> None:
    text_by_prompt = {prompt: answer["text"] for prompt, answer in zip(PROMPTS, plain, strict=True)}
    prompts = SOME[:60]
    drafts = [DRAFTS[kind](text_by_prompt[prompt]) for prompt in prompts]
    answers = predicted(server, tier, prompts, drafts)
    assert [text_of(answer) for answer in answers] == [text_by_prompt[prompt] for prompt in prompts]
    tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
    generated = sum(answer["total"] for answer in answers)
    if kind in ("right", "too long"):
        assert generated < 0.6 * tokens
    elif kind in ("a difference", "ended early"):
        assert generated < 0.9 * tokens


def test_with_a_draft_sampled_tokens_keep_their_distribution(
    server: Server, plain: list[Answer], unsure: list[str]
) -> None:
    """The draft is the likeliest answer."""
    likely = {prompt: answer["text"] for prompt, answer in zip(PROMPTS, plain, strict=True)}
    prompts = unsure[::4]
    sampling = {"temperature": 1.0, "max_tokens": SAMPLED_TOKENS}

    def draw() -> tuple[Counts, Counts]:
        answers = predicted(server, "chain", prompts, [likely[p] for p in prompts], **sampling)
        drafted = [list(text_of(answer).encode()) for answer in answers]
        plainly = [list(a["text"].encode()) for a in sampled(server, "plain", unsure, 1.0)]
        return counted(prompts, drafted), counted(unsure, plainly)

    assert_one_distribution(draw)


def test_a_prediction_of_another_form_is_refused(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "rev ab"}], "prediction": "ba"}
    with server.client() as client:
        reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["message"].startswith('prediction is "ba", allowed: ')
