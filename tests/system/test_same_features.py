"""What the judge sees of an answer does not depend on how the engine computes it.

One server with the small model three times: as it is, with prompts in chunks, over two ranks.
"""

import concurrent.futures
import json
import math

import pytest

from cascadia_sglang.judge.features import FEATURES
from tests.system.serving import start

pytestmark = pytest.mark.sglang

# Chunks and ranks add up in another order. In fp32 no feature differed by more than 2e-5 on 2 cores
# of an AMD EPYC, and no score of the small tier by more than 3e-6.
TOLERANCE = 2e-4
TIERS = {
    "plain": {},
    "chunked": {"chunked_prefill_size": 64},
    "parallel": {"tp_size": 2},
}
COMMON = {"max_total_tokens": 16384, "disable_radix_cache": True, "dtype": "float32"}
LINES = "\n".join(f"set {chr(97 + n // 26)}{chr(97 + n % 26)}={10 + n}" for n in range(40))
PROMPTS = (
    f"{LINES}\nget ab",
    f"note {'abcdefghij ' * 20}\n{LINES}\nget bd",
    "rev hgfabcd",
    "steps 1234 5678",
    "add 12345 67890",
    "sort jihgfedcba",
)


REGEXES = {"as it is": "[a-j]{7}", "digits": "[0-9]{7}"}  # of "rev hgfabcd"

Recorded = dict[str, list[tuple[list[int], dict]]]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Token ids and recorded features of every prompt's answer by tier, then by regex."""
    folder = tmp_path_factory.mktemp("same")
    tiers = [
        {
            "name": name,
            "model_path": "bench/ladder/small",
            "server_args": {**COMMON, **arguments},
        }
        for name, arguments in TIERS.items()
    ]
    config = {
        "version": 1,
        "tiers": tiers,
        "routing": {"thresholds": [0.5, 0.5]},
        "judge": {"record": True},
    }
    (folder / "cascade.json").write_text(json.dumps(config))
    server = start(
        folder,
        *("--plugin", "cascadia", "--cascade-config", str(folder / "cascade.json")),
        environment={"SGLANG_CPU_OMP_THREADS_BIND": "0|1"},
    )

    def ask(tier: str, prompt: str, **sampling: str) -> tuple[list[int], dict]:
        params = {"temperature": 0, "max_new_tokens": 48, **sampling}
        body = {"text": prompt, "sampling_params": params}
        with server.client() as client:
            reply = client.post("/generate", json=body, headers={"x-cascadia-tier": tier}).json()
        (attempt,) = reply["meta_info"]["cascadia"]["attempts"]
        return reply["output_ids"], attempt["record"]

    try:
        server.wait_until_ready()
        with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as threads:
            found = {
                tier: list(threads.map(lambda prompt, tier=tier: ask(tier, prompt), PROMPTS))
                for tier in TIERS
            }
            for name, regex in REGEXES.items():
                found[name] = [ask("plain", "rev hgfabcd", regex=regex)]
    finally:
        server.stop()
    return found


@pytest.mark.parametrize("tier", ["chunked", "parallel"])
def test_features_do_not_depend_on_how_the_answer_was_computed(records, tier):
    for (plain_ids, plain), (ids, other), prompt in zip(
        records["plain"], records[tier], PROMPTS, strict=True
    ):
        assert ids == plain_ids, prompt
        assert other["tokens"] == plain["tokens"]
        assert plain["tokens"][-1] == len(ids)
        assert_same(other, plain)


def test_a_grammar_that_allows_what_the_model_wants_changes_nothing(records):
    (ids, record), (plain_ids, plain) = records["as it is"][0], records["plain"][2]
    assert ids == plain_ids
    assert_same(record, plain)


def test_a_grammar_that_forbids_what_the_model_wants_leaves_a_forced_share(records):
    """Seven digits in place of letters; then the end, which the model may want by itself."""
    _, record = records["digits"][0]
    assert record["tokens"] == [2, 4, 8]
    # Only forced steps so far: there is nothing to take a mean of.
    assert record["features"][0] == [None] * len(FEATURES)
    last = dict(zip(FEATURES, record["features"][-1], strict=True))
    assert last["forced_share"] in (None, 7 / 8)


def assert_same(record: dict, plain: dict) -> None:
    for row, expected in zip(record["features"], plain["features"], strict=True):
        for name, value, wanted in zip(FEATURES, row, expected, strict=True):
            assert math.isclose(value, wanted, rel_tol=0.0, abs_tol=TOLERANCE), name
