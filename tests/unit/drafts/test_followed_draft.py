"""A draft that is followed, and found again after every difference."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.drafts.followed_draft import (
    COMPARED_POSITIONS,
    EXCHANGED_TOKENS,
    LEAST_TOKENS,
    FollowedDraft,
)

WINDOW = 7
NEW = itertools.count(10_000)


def verified(
    answer: Sequence[int], draft: Sequence[int], prompt: Sequence[int] = (), window: int = WINDOW
) -> tuple[int, FollowedDraft, list[list[int]]]:
    """Decode an answer greedily: its steps, the draft afterwards, and what each step proposed."""
    followed, written, steps = FollowedDraft(draft, prompt), 1, 1
    proposals = []
    while written < len(answer):
        followed.observe(answer[:written])
        proposed = list(followed.propose(window))
        proposals.append(proposed)
        rest = answer[written:]
        agreeing = 0
        while agreeing < min(len(proposed), len(rest)) and proposed[agreeing] == rest[agreeing]:
            agreeing += 1
        written += min(agreeing + 1, len(rest))
        steps += 1
    followed.observe(answer)
    return steps, followed, proposals


def fresh(count: int) -> list[int]:
    return list(itertools.islice(NEW, count))


def test_a_draft_that_is_the_answer_is_kept_whole() -> None:
    answer = fresh(33)
    steps, followed, _ = verified(answer, answer)
    assert steps == 1 + 4  # the first token, and four times eight
    assert followed.kept_tokens == 4 * WINDOW


@pytest.mark.parametrize(("inserted", "removed"), [(1, 1), (4, 0), (0, 4), (3, 9)], ids=str)
def test_it_is_found_again_after_a_difference(inserted: int, removed: int) -> None:
    draft = fresh(80)
    answer = [*draft[:30], *fresh(inserted), *draft[30 + removed :]]
    steps, _, proposals = verified(answer, draft)
    # The tokens that the draft lacks, those by which the place is found, and the rest by eights.
    assert steps <= 4 + inserted + LEAST_TOKENS + len(answer) // (WINDOW + 1)
    start = draft.index(proposals[-1][0])
    assert proposals[-1] == draft[start : start + len(proposals[-1])]


@pytest.mark.parametrize("exchanged", [1, 2, 4])
def test_tokens_that_were_exchanged_one_for_one_cost_a_step_each(exchanged: int) -> None:
    draft = fresh(65)
    answer = [*draft[:30], *fresh(exchanged), *draft[30 + exchanged :]]
    alike = verified(draft, draft)[0]
    assert verified(answer, draft)[0] <= alike + exchanged


def test_after_many_other_tokens_nothing_is_guessed() -> None:
    draft = fresh(60)
    followed = FollowedDraft(draft, ())
    followed.observe([*draft[:10], *fresh(EXCHANGED_TOKENS)])
    assert list(followed.propose(5)) == draft[10 + EXCHANGED_TOKENS :][:5]
    followed.observe([*draft[:10], *fresh(EXCHANGED_TOKENS + 1)])
    assert list(followed.propose(5)) == []


def test_an_answer_that_begins_otherwise_finds_the_draft() -> None:
    draft = fresh(40)
    answer = [*fresh(2), *draft]
    assert verified(answer, draft)[0] <= 3 + LEAST_TOKENS + 6


def test_of_several_places_the_one_that_reads_most_alike_is_taken() -> None:
    once, again = fresh(6), fresh(6)
    draft = [*once, 1, 2, 3, *again, 7, 1, 2, 3, *fresh(3)]
    followed = FollowedDraft(draft, ())
    followed.observe([*fresh(20), 7, 1, 2, 3])
    assert list(followed.propose(3)) == draft[-3:]


def test_of_places_that_read_alike_the_nearest_to_the_expected_is_taken() -> None:
    parts = [fresh(10) for _ in range(3)]
    draft = [token for part in parts for token in (*part, 1, 2, 3)]
    for index, part in enumerate(parts[1:]):
        followed = FollowedDraft(draft, ())
        followed.observe([*fresh(13 * (index + 1) - 4), 4, 1, 2, 3])
        assert list(followed.propose(5)) == part[:5]


def test_where_it_says_nothing_the_prompt_and_the_output_do() -> None:
    prompt, repeated = fresh(20), fresh(6)
    followed = FollowedDraft(fresh(9), prompt)
    followed.observe([*repeated, 1, *prompt[5:8]])
    assert list(followed.propose(4)) == prompt[8:12]
    followed.observe([*repeated, 1, *prompt[5:8], *repeated[:3]])
    assert list(followed.propose(4)) == [*repeated[3:], 1]
    assert followed.kept_tokens == 0


def test_without_any_place_it_proposes_nothing() -> None:
    followed = FollowedDraft(fresh(30), fresh(30))
    followed.observe(fresh(12))
    assert list(followed.propose(5)) == []


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_short_draft_is_followed_to_its_end(length: int) -> None:
    draft = fresh(length)
    steps, followed, _ = verified([*draft, *fresh(2)], draft)
    assert steps == (3 if length == 1 else 2) + (length > 1)
    assert followed.kept_tokens == length - 1


tokens = st.lists(st.integers(0, 3), max_size=24)


@given(tokens.filter(len), tokens.filter(len), tokens)
def test_what_is_kept_was_proposed_from_the_draft_and_accepted(
    answer: list[int], draft: list[int], prompt: list[int]
) -> None:
    """By a count of its own, over few different tokens, so that places repeat."""
    followed, written, kept_tokens = FollowedDraft(draft, prompt), 1, 0
    while written < len(answer):
        followed.observe(answer[:written])
        before = followed.kept_tokens
        proposed = list(followed.propose(WINDOW))
        is_draft = any(
            proposed == draft[start : start + len(proposed)] for start in range(len(draft))
        )
        rest = answer[written:]
        agreeing = 0
        while agreeing < min(len(proposed), len(rest)) and proposed[agreeing] == rest[agreeing]:
            agreeing += 1
        written += min(agreeing + 1, len(rest))
        followed.observe(answer[:written])
        gained = followed.kept_tokens - before
        assert gained in (0, min(agreeing, max(0, len(rest) - 1)))
        assert is_draft or gained == 0
        kept_tokens += gained
    assert followed.kept_tokens == kept_tokens


@given(tokens.filter(len), tokens.filter(len), st.data())
def test_staged_tokens_count_as_written_ones(
    answer: list[int], draft: list[int], data: st.DataObject
) -> None:
    """In an overlapped loop the scheduler adds the tokens of a step after the next is prepared."""
    plain, overlapped = FollowedDraft(draft, (0, 1, 2)), FollowedDraft(draft, (0, 1, 2))
    before = written = 0
    while written < len(answer):
        before, written = written, data.draw(st.integers(written + 1, len(answer)))
        plain.observe(answer[:written])
        overlapped.observe(answer[:before], answer[before:written])
        assert list(plain.propose(4)) == list(overlapped.propose(4))
    plain.observe(answer)
    overlapped.observe(answer)
    assert plain.kept_tokens == overlapped.kept_tokens


def test_a_draft_that_repeats_itself_is_searched_near_the_expected_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of its places look alike, and every request of the worker waits for the search."""
    compared: list[int] = []
    alike = FollowedDraft._alike

    def counted(followed: FollowedDraft, index: int) -> int:
        compared.append(index)
        return alike(followed, index)

    monkeypatch.setattr(FollowedDraft, "_alike", counted)
    draft = [1, 2] * 4000
    followed = FollowedDraft(draft, [])
    output = [*draft[:4000], 3, 1, 2]
    followed.observe(output)
    assert list(followed.propose(WINDOW)) == draft[:WINDOW]
    assert len(compared) == COMPARED_POSITIONS
    assert max(abs(index - len(output)) for index in compared) <= COMPARED_POSITIONS + 2
