"""How well a model that is asked over HTTP judges answers: the largest tier, as the paper's GPT-4.

The judge model reads the question and the smaller model's answer, and says yes or no. Its score is
the probability of yes among the two. Recorded answers of the parts `certify` and `test` are judged;
their texts lie in the cache of `bench.real.record`.

Example:
    python -m bench.real.judge_model --small PATH --large PATH   # adds to real_judge.csv
    python -m bench.real.judge_model --smoke   # a demo model, or that of --large; writes nothing

Shape legend: N answers.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import CaseRows, Facts, Row, facts_of_this_run, save_rows
from bench.real.answers import Answer
from bench.real.question_sets import Question, question_set
from bench.real.record import (
    ANSWER_S,
    CACHE,
    DEMO,
    SERVER_FLAGS,
    SMOKE_SIZE,
    START_S,
    digest_of,
    label,
)
from cascadia_sglang.arrays import BoolArray
from cascadia_sglang.calibration.fit.statistics import measure
from cascadia_sglang.calibration.record.recording import RecordingServer, record
from cascadia_sglang.calibration.record.records import Key, RecordFile
from cascadia_sglang.calibration.record.server import recording_server
from cascadia_sglang.config.cascade_file import load_uncalibrated
from cascadia_sglang.errors import CascadiaError, RefusedError

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
        asked: digest of what the judge model was sent.
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


def body_of(question: Question, text: str) -> dict[str, object]:
    """The request for a verdict on one answer."""
    content = f"Question:\n{question.messages[-1]['content']}\n\nAnswer:\n{text}\n\n{_ASKED}"
    return {
        "model": "cascadia",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0.0,
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": _TOP,
    }


def key_of(question: Question, text: str) -> Key:
    """Names a verdict: another answer to the same question is judged anew."""
    content = msgspec.json.encode(body_of(question, text), order="deterministic")
    return "judge", question.id, blake2b(content, digest_size=8).hexdigest()


def judge(connection: http.client.HTTPConnection, question: Question, text: str) -> list[Verdict]:
    """The verdict on one answer.

    Raises:
        RefusedError: if the server answers with an error, or without a token.
        OSError, http.client.HTTPException: if the connection breaks or times out.
    """
    started = time.monotonic()
    headers = {"content-type": "application/json"}
    body = json.dumps(body_of(question, text))
    connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    reply = response.read()
    if response.status != 200:
        raise RefusedError(f"{question.id}: {response.status} {reply[:200]!r}")
    seconds = time.monotonic() - started
    [choice] = json.loads(reply)["choices"]
    tokens = choice["logprobs"]["content"]
    if not tokens:
        raise RefusedError(f"{question.id}: the judge model wrote no token")
    yes = probability_of_yes(tokens[0]["top_logprobs"])
    _, _, digest = key_of(question, text)
    return [Verdict(id=question.id, asked=digest, yes=yes, seconds=seconds)]


def texts_of(model: str, questions: Sequence[Question]) -> dict[str, Answer]:
    """The cached answers of a model, by question.

    Raises:
        SystemExit: if one is missing.
    """
    answers = RecordFile(CACHE / model / "answers.jsonl", Answer).load()
    keys = {question.id: (model, question.id, digest_of(question, 0.0)) for question in questions}
    missing = [name for name, key in keys.items() if key not in answers]
    if missing:
        raise SystemExit(f"{model} has not answered {missing[0]}: bench.real.record")
    return {name: answers[key] for name, key in keys.items()}


def verdicts(
    path: str, questions: Sequence[Question], answers: Mapping[str, Answer], folder: Path
) -> dict[str, Verdict]:
    """What the model at this path says of every answer, by question.

    What the folder holds is not asked again.

    Raises:
        CascadiaError: if the server does not start, or is lost.
        SystemExit: if it refused a request.
    """
    keys = {question.id: key_of(question, answers[question.id].text) for question in questions}
    folder.mkdir(parents=True, exist_ok=True)
    with RecordFile(folder / "verdicts.jsonl", Verdict) as file:
        verdict_by_key = file.load()
        missing = [question for question in questions if keys[question.id] not in verdict_by_key]
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
            verdict_by_key |= {verdict.key: verdict for verdict in new}
    refused = [name for name, key in keys.items() if key not in verdict_by_key]
    if refused:
        raise SystemExit(f"{len(refused)} answers were not judged, {refused[0]} is one")
    return {name: verdict_by_key[key] for name, key in keys.items()}


def rows_of_group(
    case_rows: CaseRows, variant: str, verdicts_of_group: Sequence[Verdict], right_N: BoolArray
) -> list[Row]:
    """Every metric of some verdicts, and the time that one takes."""
    for metric, interval in measure(
        np.array([verdict.yes for verdict in verdicts_of_group]), right_N
    ).items():
        value = Estimate(p50=interval.value, low95=interval.low, high95=interval.high, n=interval.n)
        case_rows.add(variant, metric, "1", value)
    case_rows.add(variant, "time", "s", spread([verdict.seconds for verdict in verdicts_of_group]))
    return case_rows.rows


def measured(args: argparse.Namespace, facts: Facts) -> list[Row]:
    """Ask, and measure every set and part.

    Raises:
        CascadiaError: if the server does not start, or is lost.
    """
    small, large = Path(args.small).name, Path(args.large).name
    questions = [q for name in SETS for q in question_set(name) if q.part in PARTS]
    answers = texts_of(small, questions)
    verdict_by_id = verdicts(args.large, questions, answers, CACHE / f"{large}-judges-{small}")
    rows = []
    for name in SETS:
        for part in PARTS:
            group = [q for q in questions if (q.set, q.part) == (name, part)]
            if not group:
                continue
            right_N = np.array([bool(label(q, answers[q.id].text)) for q in group])
            case_rows = CaseRows(facts, BENCH, f"{small}, {name}, {part}")
            variant = f"{large} asked over HTTP"
            rows += rows_of_group(case_rows, variant, [verdict_by_id[q.id] for q in group], right_N)
    return rows


def smoke(path: str) -> None:
    """Judge a few answers that are made up; prints a line for each.

    Raises:
        CascadiaError: if the server does not start, or is lost.
    """
    questions = [question for name in SETS for question in question_set(name, SMOKE_SIZE)]
    answers = {question.id: _made_up(question) for question in questions}
    with tempfile.TemporaryDirectory() as folder:
        verdict_by_id = verdicts(path, questions, answers, Path(folder))
    for question in questions:
        is_right, verdict = label(question, answers[question.id].text), verdict_by_id[question.id]
        print(f"{question.id}: right {is_right}, yes {verdict.yes:.3f}")


def _made_up(question: Question) -> Answer:
    """An answer that no model wrote: the reference, where there is one."""
    return Answer(
        id=question.id,
        model="nobody",
        asked=digest_of(question, 0.0),
        temperature=0.0,
        text=next(iter(question.answers), "I do not know."),
        output_ids=[],
        values=[],
        prompt_tokens=0,
        is_truncated=False,
        seconds=0.0,
    )


def main() -> None:
    """Ask, measure, add rows."""
    parser = argparse.ArgumentParser(description="A model that judges over HTTP.")
    for tier in ("small", "large"):
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument("--smoke", action="store_true", help="a few answers; writes nothing")
    args = parser.parse_args()
    try:
        if args.smoke:
            smoke(args.large or DEMO)
            return
        if not (args.small and args.large):
            parser.error("--small and --large are needed: folders of models")
        rows = measured(args, facts_of_this_run(f"bench.{BENCH}"))
    except CascadiaError as error:
        sys.exit(str(error))
    save_rows(RESULTS / "real_judge.csv", rows)


if __name__ == "__main__":
    main()
