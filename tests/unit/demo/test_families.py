"""The demo's questions: right answers, fixed draws, splits without a shared prompt."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from demo.tasks.families import (
    FAMILIES,
    MAX_SYSTEM_CHARS,
    MAX_TURNS,
    TEST_FAMILIES,
    Row,
    is_correct,
)
from demo.tasks.splits import SPLITS, sample, split_of

ALL = tuple(FAMILIES)


def solve(prompt: str) -> str:
    """Answer a prompt from its text alone, apart from the generator."""
    last = prompt.splitlines()[-1]
    family, *words = last.split()
    if family == "add":
        return str(sum(map(int, words)))
    if family == "mul":
        return str(int(words[0]) * int(words[1]))
    if family == "rev":
        return "".join(reversed(words[0]))
    if family == "sort":
        return "".join(letter * words[0].count(letter) for letter in sorted(set(words[0])))
    if family == "count":
        return str(len(re.findall(words[0], words[2])))
    if family == "get":  # of `recall` too
        return dict(re.findall(r"^set (\w+)=(\d+)$", prompt, re.M))[words[0]]
    raise AssertionError(prompt)


@pytest.mark.parametrize("family", [name for name in ALL if name != "steps"])
def test_answer_is_what_the_prompt_asks_for(family: str) -> None:
    for row in sample("train", 3, 500, (family,)):
        assert row.answer == solve(row.prompt)
        assert is_correct(row, f"{row.answer}\n")
        assert not is_correct(row, row.answer + "0")


def test_steps_write_a_true_sum_for_every_column() -> None:
    for row in sample("train", 4, 500, ("steps",)):
        _, left, right = row.prompt.split()
        columns, total = row.answer.split(" = ")
        assert int(total) == int(left) + int(right)
        digits, carry = "", 0
        for a, b, c, s, w, out in re.findall(r"(\d)\+(\d)\+(\d)=(\d+) w(\d) c(\d)", columns):
            assert int(c) == carry
            assert int(a) + int(b) + int(c) == int(s) == 10 * int(out) + int(w)
            digits, carry = w + digits, int(out)
        assert int(f"{carry}{digits}") == int(total)
        assert 30 <= len(row.answer) <= 120


def test_get_system_part_stays_within_its_room() -> None:
    lengths = [len(row.prompt.rpartition("\n")[0]) for row in sample("train", 5, 500, ("get",))]
    assert max(lengths) <= MAX_SYSTEM_CHARS
    assert max(lengths) > MAX_SYSTEM_CHARS // 2


def test_recall_marks_the_right_answers_of_its_earlier_turns() -> None:
    rows = sample("train", 5, 300, ("recall",))
    assert max(len(row.turns) for row in rows) == MAX_TURNS - 1
    for row in rows:
        for start, end in row.turns:
            question, answer = row.prompt[:start].removesuffix("\n"), row.prompt[start:end]
            assert answer == solve(question) + "\n"


def test_sizes_fill_the_declared_range() -> None:
    for name, family in FAMILIES.items():
        sizes = {row.size for split in SPLITS for row in sample(split, 6, 400, (name,))}
        assert sizes == set(range(family.low, family.high + 1))


def test_same_arguments_give_the_same_rows() -> None:
    assert sample("test", 7, 50, ALL) == sample("test", 7, 50, ALL)
    assert sample("test", 7, 50, ALL) != sample("test", 8, 50, ALL)


def test_a_row_never_changes_between_versions() -> None:
    assert sample("test", 0, 1, ("mul",)) == [
        Row(family="mul", size=3, prompt="mul 156 1", answer="156")
    ]


def test_no_prompt_is_in_two_splits_whatever_the_seed() -> None:
    prompts = {
        split: {row.prompt for seed in range(4) for row in sample(split, seed, 800, ALL)}
        for split in SPLITS
    }
    assert not prompts["train"] & prompts["test"]
    assert not prompts["train"] & prompts["calibration"]
    assert not prompts["calibration"] & prompts["test"]


def test_every_small_domain_has_prompts_in_every_split() -> None:
    multiplications = [f"mul {a} {b}" for a in range(10) for b in range(10)]
    assert {split_of(prompt) for prompt in multiplications} == set(SPLITS)


def test_families_are_uniform_unless_weighted() -> None:
    even = Counter(row.family for row in sample("train", 9, 5000))
    assert set(even) == set(TEST_FAMILIES)
    assert all(600 < n < 830 for n in even.values())
    heavy = Counter(row.family for row in sample("train", 9, 5000, weights={"add": 5.0}))
    assert heavy["add"] > 2000


def test_max_sizes_bound_the_draw() -> None:
    rows = sample("train", 10, 300, ("rev",), max_sizes={"rev": 4})
    assert max(row.size for row in rows) == 4


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        sample("dev", 0, 1)
