"""Records what real models answer to the question sets, with the statistics of every token.

Each model is served alone, so its tokenizer may differ from another's. An interrupted run goes on
where it stopped, and `--minutes` ends one in time.

Example:
    python -m bench.real.record --small PATH --large PATH   # adds to bench/real/answers.jsonl.gz
    python -m bench.real.record --small PATH --sets humaneval --minutes 40
    python -m bench.real.record --smoke   # a demo model, or those given; writes nothing
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from bench.real.answers import (
    STORED,
    Answer,
    StoredAnswer,
    load_answers,
    packed,
    save_answers,
    step_values,
)
from bench.real.humaneval.problems import problems, program
from bench.real.humaneval.sandbox import succeeds
from bench.real.question_sets import SETS, Question, question_set
from cascadia_sglang.calibration.record.labels import DEFAULT, Labeler
from cascadia_sglang.calibration.record.recording import RecordingServer, record
from cascadia_sglang.calibration.record.records import Key, RecordFile
from cascadia_sglang.calibration.record.sample import Question as SampleQuestion
from cascadia_sglang.calibration.record.server import recording_server
from cascadia_sglang.config.cascade_file import load_uncalibrated
from cascadia_sglang.errors import CascadiaError, RefusedError
from cascadia_sglang.messages import EVERY_TOKEN

CACHE = Path(__file__).parent / "cache"
DEMO = "demo/models/small"
SMOKE_SIZE = 3
CONCURRENCY = 32
# Questions are short; a pool for the whole context would take gigabytes.
SERVER_FLAGS = ("--max-total-tokens", "32768")
START_S = 600.0
ANSWER_S = 600.0


def digest_of(question: Question, temperature: float) -> str:
    """Names all that shapes a model's answer."""
    parts = (question.messages, question.max_tokens, temperature)
    return blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def ask(
    connection: http.client.HTTPConnection, question: Question, model: str, temperature: float
) -> list[Answer]:
    """The model's answer.

    Raises:
        RefusedError: if the server answers with an error, or without a record.
        OSError, http.client.HTTPException: if the connection breaks or times out.
    """
    body = {
        "model": "cascadia",
        "messages": question.messages,
        "temperature": temperature,
        "max_tokens": question.max_tokens,
        "return_meta_info": True,
    }
    started = time.monotonic()
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    content = response.read()
    seconds = time.monotonic() - started
    if response.status != 200:
        raise RefusedError(f"{question.id}: {response.status} {content[:200]!r}")
    [choice] = json.loads(content)["choices"]
    # Attempts before the last one lost their worker.
    attempt = choice["meta_info"]["cascadia"]["attempts"][-1]
    features, output_ids = attempt["record"]["features"], attempt["output_ids"]
    if len(features) != len(output_ids):
        raise RefusedError(f"{question.id}: {len(features)} of {len(output_ids)} tokens recorded")
    return [
        Answer(
            id=question.id,
            model=model,
            asked=digest_of(question, temperature),
            temperature=temperature,
            text=choice["message"]["content"] or "",
            output_ids=output_ids,
            values=step_values(features),
            prompt_tokens=choice["meta_info"]["prompt_tokens"],
            is_truncated=choice["finish_reason"] == "length",
            seconds=seconds,
        )
    ]


def record_model(
    path: str, questions: Sequence[Question], temperature: float, folder: Path, deadline: float
) -> dict[Key, Answer]:
    """Everything that the folder holds of the model's answers, after asking what was missing.

    Args:
        deadline: of `time.monotonic()`, at which no new part is begun.

    Raises:
        CascadiaError: if the server does not start, or is lost.
    """
    model = Path(path).name
    own_folder = folder / model
    own_folder.mkdir(parents=True, exist_ok=True)
    with RecordFile(own_folder / "answers.jsonl", Answer) as file:
        answers = file.load()
        missing = [q for q in questions if (model, q.id, digest_of(q, temperature)) not in answers]
        if not missing:
            return answers
        cascade = own_folder / "cascade.json"
        tier = {"name": "model", "model_path": path}
        cascade.write_text(json.dumps({"version": 1, "tiers": [tier]}))
        config = load_uncalibrated(cascade)
        config = msgspec.structs.replace(
            config, judge=msgspec.structs.replace(config.judge, record=EVERY_TOKEN)
        )
        with recording_server(config, own_folder, SERVER_FLAGS, START_S) as port:
            server = RecordingServer(port=port, concurrency=CONCURRENCY, timeout_s=ANSWER_S)
            for part in _parts(missing):
                if time.monotonic() > deadline:
                    print(f"{model}: the time is up; run it again", file=sys.stderr)
                    break
                new = record(
                    server,
                    part,
                    lambda connection, q: ask(connection, q, model, temperature),
                    file,
                    f"{model}, {part[0].set}",
                )
                answers |= {answer.key: answer for answer in new}
    return answers


def _parts(questions: Sequence[Question], size: int = 8 * CONCURRENCY) -> Iterable[list[Question]]:
    """The questions of a set after those of another, in parts that end within minutes."""
    for name in SETS:
        of_set = [question for question in questions if question.set == name]
        yield from (of_set[start : start + size] for start in range(0, len(of_set), size))


def label(question: Question, text: str) -> bool | None:
    """Whether an answer's text is right; None where nobody knows."""
    if question.set == "humaneval":
        problem = problems()[int(question.id.split("-")[1])]
        return succeeds(program(problem, text))
    if not question.answers:
        return None
    sample_question = SampleQuestion(
        id=question.id, messages=list(question.messages), reference=list(question.answers)
    )
    [[is_right]] = Labeler(DEFAULT)([sample_question], [[text]])
    return is_right


def pack(
    questions: Sequence[Question],
    answers: Mapping[Key, Answer],
    models: Sequence[str],
    temperature: float,
) -> list[StoredAnswer]:
    """The answers to these questions, labelled.

    Raises:
        SystemExit: if one is missing.
    """
    stored = []
    for model in models:
        for question in questions:
            answer = answers.get((model, question.id, digest_of(question, temperature)))
            if answer is None:
                raise SystemExit(f"{model} has not answered {question.id}: run it again")
            stored.append(packed(answer, label(question, answer.text)))
    return stored


def shares(stored: Sequence[StoredAnswer], questions: Sequence[Question]) -> Iterable[str]:
    """A line for every model, set and kind: the share of right answers."""
    kinds = {question.id: (question.set, question.kind) for question in questions}
    for model in sorted({answer.model for answer in stored}):
        groups: dict[tuple[str, str], list[StoredAnswer]] = {}
        for answer in stored:
            if answer.model == model:
                groups.setdefault(kinds[answer.id], []).append(answer)
        for (name, kind), group in groups.items():
            labels = [answer.right for answer in group if answer.right is not None]
            right = f"{sum(labels) / len(labels):.3f} right" if labels else "not labelled"
            tokens = sum(len(answer.output_ids) for answer in group) / len(group)
            yield f"{model}, {name}, {kind}: {right}, {tokens:.1f} tokens, n {len(group)}"


def main() -> None:
    """Record, then pack what is complete."""
    parser = argparse.ArgumentParser(description="Record real models' answers.")
    for tier in ("small", "large"):
        parser.add_argument(f"--{tier}", help=f"folder of the {tier} model")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--minutes", type=float, default=40.0, help="no part begins after them")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--smoke", action="store_true", help="a few questions; writes nothing")
    args = parser.parse_args()
    models = [path for path in (args.small, args.large) if path]
    if args.smoke and not models:
        models = [DEMO]
    if not models:
        parser.error("--small or --large is needed: folders of models")
    questions = [
        q for name in args.sets for q in question_set(name, SMOKE_SIZE if args.smoke else None)
    ]
    deadline = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as smoke_folder:
        folder = Path(smoke_folder) if args.smoke else CACHE
        answers: dict[Key, Answer] = {}
        try:
            for path in models:
                answers |= record_model(path, questions, args.temperature, folder, deadline)
        except CascadiaError as error:
            raise SystemExit(str(error)) from error
    names = [Path(path).name for path in models]
    stored = pack(questions, answers, names, args.temperature)
    for line in shares(stored, questions):
        print(line)
    if not args.smoke:
        save_answers(_merged(load_answers() if STORED.exists() else [], stored))


def _merged(
    before: Sequence[StoredAnswer], after: Sequence[StoredAnswer]
) -> Iterable[StoredAnswer]:
    """All answers to questions of today's sets; a later answer replaces an earlier one."""
    known_ids = {question.id for name in SETS for question in question_set(name)}
    merged = {(a.model, a.id, a.temperature): a for a in (*before, *after) if a.id in known_ids}
    return merged.values()


if __name__ == "__main__":
    main()
