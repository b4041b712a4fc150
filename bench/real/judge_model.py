"""How well a model that is asked over HTTP judges answers: the largest tier, as the paper's GPT-4.

The judge model reads the question and the smaller model's answer, and says yes or no. Its score is
the probability of yes among the two. Recorded answers of the parts `certify` and `test` are judged;
their texts lie in the cache of `bench.real.record`.

Example:
    python -m bench.real.judge_model --small PATH --large PATH   # adds to real_judge.csv

Shape legend: N answers.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import Told, facts_of_this_run, save_rows
from bench.real.answers import Answer
from bench.real.question_sets import Question, question_set
from bench.real.record import ANSWER_S, CACHE, SERVER_FLAGS, START_S, digest_of, label
from cascadia_sglang.calibration.fit.statistics import measure
from cascadia_sglang.calibration.record.recording import RecordingServer, record
from cascadia_sglang.calibration.record.records import Key, RecordFile
from cascadia_sglang.calibration.record.server import recording_server
from cascadia_sglang.config.cascade_file import load_uncalibrated
from cascadia_sglang.errors import RefusedError

BENCH = "real.judge_model"
SETS = ("short", "reasoning", "humaneval")
PARTS = ("certify", "test")
CONCURRENCY = 8
_ASKED = 'Is this answer right? Reply with "yes" or "no" alone.'
_TOP = 20


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the judge model says of an answer.

    Attributes:
        id: of the question.
        asked: digest of question and answer.
        yes: probability of yes, among yes and no.
        seconds: from the request to the verdict.
    """

    id: str
    asked: str
    yes: float
    seconds: float

    @property
    def key(self) -> Key:
        return "judge", self.id, self.asked


def probability_of_yes(top: Sequence[dict[str, object]]) -> float:
    """From the likeliest first tokens; 0.5 where neither word is among them."""
    weights = {"yes": 0.0, "no": 0.0}
    for entry in top:
        word = str(entry["token"]).strip().casefold()
        if word in weights:
            weights[word] += math.exp(float(str(entry["logprob"])))
    total = sum(weights.values())
    return weights["yes"] / total if total else 0.5


def judge(connection: http.client.HTTPConnection, question: Question, text: str) -> list[Verdict]:
    """The verdict on one answer.

    Raises:
        RefusedError: if the server answers with an error.
        OSError, http.client.HTTPException: if the connection breaks or times out.
    """
    content = f"Question:\n{question.messages[-1]['content']}\n\nAnswer:\n{text}\n\n{_ASKED}"
    body = {
        "model": "cascadia",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0.0,
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": _TOP,
    }
    started = time.monotonic()
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    reply = response.read()
    if response.status != 200:
        raise RefusedError(f"{question.id}: {response.status} {reply[:200]!r}")
    [choice] = json.loads(reply)["choices"]
    return [
        Verdict(
            id=question.id,
            asked=digest_of(question, 0.0),
            yes=probability_of_yes(choice["logprobs"]["content"][0]["top_logprobs"]),
            seconds=time.monotonic() - started,
        )
    ]


def texts_of(model: str, asked: Sequence[Question]) -> dict[str, Answer]:
    """The cached answers of a model, by question.

    Raises:
        SystemExit: if one is missing.
    """
    answers = RecordFile(CACHE / model / "answers.jsonl", Answer).load()
    keys = {question.id: (model, question.id, digest_of(question, 0.0)) for question in asked}
    missing = [name for name, key in keys.items() if key not in answers]
    if missing:
        raise SystemExit(f"{model} has not answered {missing[0]}: bench.real.record")
    return {name: answers[key] for name, key in keys.items()}


def verdicts(
    path: str, asked: Sequence[Question], answers: dict[str, Answer], folder: Path
) -> dict[Key, Verdict]:
    """What the model at this path says of every answer; what the folder holds is not asked again.

    Raises:
        CascadiaError: if the server does not start, or is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with RecordFile(folder / "verdicts.jsonl", Verdict) as file:
        known = file.load()
        missing = [q for q in asked if ("judge", q.id, digest_of(q, 0.0)) not in known]
        if missing:
            cascade = folder / "cascade.json"
            tiers = [{"name": "judge", "model_path": path}]
            cascade.write_text(json.dumps({"version": 1, "tiers": tiers}))
            config = load_uncalibrated(cascade)
            with recording_server(config, folder, SERVER_FLAGS, START_S) as port:
                server = RecordingServer(port=port, concurrency=CONCURRENCY, timeout_s=ANSWER_S)
                new = record(
                    server, missing, lambda c, q: judge(c, q, answers[q.id].text), file, "judge"
                )
            known |= {verdict.key: verdict for verdict in new}
    return known


def main() -> None:
    """Ask, measure, add rows."""
    parser = argparse.ArgumentParser(description="A model that judges over HTTP.")
    for tier in ("small", "large"):
        parser.add_argument(f"--{tier}", required=True, help=f"folder of the {tier} model")
    args = parser.parse_args()
    small, large = Path(args.small).name, Path(args.large).name
    asked = [q for name in SETS for q in question_set(name) if q.part in PARTS]
    answers = texts_of(small, asked)
    found = verdicts(args.large, asked, answers, CACHE / f"{large}-judges-{small}")
    facts = facts_of_this_run(f"bench.{BENCH}")
    rows = []
    for name in SETS:
        for part in PARTS:
            own = [q for q in asked if (q.set, q.part) == (name, part)]
            own_verdicts = [found["judge", q.id, digest_of(q, 0.0)] for q in own]
            if not own:
                continue
            right_N = np.array([bool(label(q, answers[q.id])) for q in own])
            told = Told(facts, BENCH, f"{small}, {name}, {part}")
            yes_N = np.array([verdict.yes for verdict in own_verdicts])
            for metric, interval in measure(yes_N, right_N).items():
                value = Estimate(
                    p50=interval.value, low95=interval.low, high95=interval.high, n=interval.n
                )
                told.add(f"{large} asked over HTTP", metric, "1", value)
            seconds = spread([verdict.seconds for verdict in own_verdicts])
            told.add(f"{large} asked over HTTP", "time", "s", seconds)
            rows += told.rows
    save_rows(RESULTS / "real_judge.csv", rows)


if __name__ == "__main__":
    main()
