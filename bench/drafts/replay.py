"""How many steps a larger model needs per token, where it has a smaller model's answer as a draft.

Replayed from recorded greedy answers of two real models of one tokenizer: no model runs. Greedy
answers do not depend on how they were computed, so a replay gives the steps of any load.

Example:
    python -m bench.drafts.replay --large PATH   # writes bench/results/drafts_replay.csv
    python -m bench.drafts.replay --smoke        # made-up answers; writes nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench import RESULTS
from bench.harness.estimates import Estimate, sum_ratio
from bench.harness.rows import CaseRows, facts_of_this_run, save_rows
from bench.real.answers import STORED, StoredAnswer, load_answers
from bench.real.question_sets import SETS, question_set
from cascadia_sglang.drafts.followed_draft import FollowedDraft

WINDOWS = (2, 4, 8, 16)
LOOK_UP_WINDOW = 8
# Shorter answers have hardly a step to save.
LEAST_TOKENS = 8

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The answers of both models to one question.

    Attributes:
        prompt: in which tokens are looked up, too.
        is_right: whether the smaller model's answer is; None where nobody knows.
    """

    prompt: Tokens
    draft: Tokens
    answer: Tokens
    is_right: bool | None


def steps_of_prefix(draft: Tokens, answer: Tokens) -> int:
    """Steps of an answer that begins with what it shares with the draft, read in its prefill."""
    return max(1, len(answer) - _shared(draft, answer))


def steps_of_followed(draft: Tokens, answer: Tokens, window: int, prompt: Tokens = ()) -> int:
    """Steps where each verifies so many tokens: the model's own last, and proposals after it."""
    followed = FollowedDraft(draft, prompt)
    written, steps = 1, 1
    while written < len(answer):
        followed.observe(answer[:written])
        proposed = followed.propose(window - 1)
        # What follows the last right proposal is the model's own.
        written += _shared(proposed, answer[written:]) + 1
        steps += 1
    return steps


def _shared(first: Tokens, second: Tokens) -> int:
    """How many tokens two answers begin with together."""
    for index, (first_token, other) in enumerate(zip(first, second, strict=False)):
        if first_token != other:
            return index
    return min(len(first), len(second))


def arms() -> Iterator[tuple[str, Callable[[Pair], int]]]:
    """Each with the steps of an answer."""

    def followed(window: int) -> Callable[[Pair], int]:
        return lambda pair: steps_of_followed(pair.draft, pair.answer, window, pair.prompt)

    def perfect(window: int) -> Callable[[Pair], int]:
        return lambda pair: steps_of_followed(pair.answer, pair.answer, window)

    yield "read as a prefix", lambda pair: steps_of_prefix(pair.draft, pair.answer)
    for window in WINDOWS:
        yield f"found again, window {window}", followed(window)
    name = f"look-up alone, window {LOOK_UP_WINDOW}"
    yield name, lambda pair: steps_of_followed((), pair.answer, LOOK_UP_WINDOW, pair.prompt)
    for window in WINDOWS:
        yield f"a perfect draft, window {window}", perfect(window)


def pairs_by_set(
    stored: Sequence[StoredAnswer],
    small: str,
    large: str,
    prompt_of: Callable[[StoredAnswer], Tokens],
) -> dict[str, list[Pair]]:
    """Greedy answers of at least `LEAST_TOKENS` that both models gave, by the question's set."""
    greedy = {(answer.model, answer.id): answer for answer in stored if answer.temperature == 0.0}
    by_set: dict[str, list[Pair]] = {}
    for (model, name), answer in greedy.items():
        draft = greedy.get((small, name))
        if model != large or draft is None or len(answer.output_ids) < LEAST_TOKENS:
            continue
        pair = Pair(
            prompt=prompt_of(answer),
            draft=draft.output_ids,
            answer=answer.output_ids,
            is_right=draft.right,
        )
        by_set.setdefault(name.partition("-")[0], []).append(pair)
    return by_set


def prompts_of(model_path: str) -> Callable[[StoredAnswer], Tokens]:
    """The tokens that a recorded answer's question had.

    Raises:
        SystemExit: if their number is another than recorded.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    questions = {question.id: question for name in SETS for question in question_set(name)}

    def prompt_of(answer: StoredAnswer) -> Tokens:
        messages = list(questions[answer.id].messages)
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        tokens: list[int] = tokenizer.encode(text, add_special_tokens=False)
        if len(tokens) != answer.prompt_tokens:
            raise SystemExit(
                f"{answer.id} has {len(tokens)} tokens by {model_path}, {answer.prompt_tokens} in "
                "its record"
            )
        return tokens

    return prompt_of


def measured(pairs: Sequence[Pair]) -> Iterator[tuple[str, Estimate]]:
    """Steps per token of each arm, the answers together."""
    tokens = [len(pair.answer) for pair in pairs]
    for name, steps in arms():
        yield name, sum_ratio([steps(pair) for pair in pairs], tokens)


def cases(by_set: dict[str, list[Pair]]) -> Iterator[tuple[str, list[Pair]]]:
    """Each set; and of a set with known answers, what the smaller model got wrong."""
    for name, pairs in sorted(by_set.items()):
        yield name, pairs
        wrong = [pair for pair in pairs if pair.is_right is False]
        if wrong:
            yield f"{name}, the draft is wrong", wrong


def made_up(questions: int = 20) -> list[StoredAnswer]:
    """Answers of two models that differ in one token of ten."""
    random, stored = Random(0), []
    for number in range(questions):
        answer = [random.randrange(1000) for _ in range(60)]
        draft = [token if random.random() < 0.9 else random.randrange(1000) for token in answer]
        stored += [
            StoredAnswer(
                id=f"made-{number}",
                model=model,
                temperature=0.0,
                right=number % 3 > 0,
                text_key="",
                output_ids=tokens,
                values=[],
                prompt_tokens=1,
                is_truncated=False,
                seconds=0.0,
            )
            for model, tokens in (("small", draft), ("large", answer))
        ]
    return stored


def main() -> None:
    """Replay, and write the rows."""
    parser = argparse.ArgumentParser(description="Steps per token, with a draft and without.")
    parser.add_argument("--answers", type=Path, default=STORED, help="recorded answers")
    parser.add_argument("--small", default="qwen2.5-coder-0.5b", help="recorded name of the small")
    parser.add_argument("--large", help="folder of the large model: its name, and its tokenizer")
    parser.add_argument("--smoke", action="store_true", help="made-up answers; writes nothing")
    args = parser.parse_args()
    facts = facts_of_this_run("bench.drafts.replay")
    if args.smoke:
        small, large = "small", "large"
        by_set = pairs_by_set(made_up(), small, large, lambda _: ())
    elif args.large is None:
        parser.error("--large is needed: the folder of the large model")
    else:
        small, large = args.small, Path(args.large).name
        by_set = pairs_by_set(load_answers(args.answers), small, large, prompts_of(args.large))
    if not by_set:
        raise SystemExit(f"{args.answers}: no answers of {small} and {large} to one question")
    rows = []
    for name, pairs in cases(by_set):
        case = CaseRows(facts, "drafts.replay", f"{small} under {large}, {name}")
        for arm, steps in measured(pairs):
            case.add(arm, "steps per token", "1", steps)
        rows += case.rows
    if not args.smoke:
        save_rows(RESULTS / "drafts_replay.csv", rows)


if __name__ == "__main__":
    main()
