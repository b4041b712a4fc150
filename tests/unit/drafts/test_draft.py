"""What is kept of a draft is what greedy decoding would have written, however it is read."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.drafts.draft import Draft, known_tokens, until_end

END = 0
TOKENS = st.integers(1, 3)


def written(preferred: list[int], draft: tuple[int, ...]) -> tuple[list[int], int]:
    """By going token by token: what is kept of a draft, and the token after it.

    Args:
        preferred: the token that the model prefers after each beginning of the draft.
    """
    agreed: list[int] = []
    for index, token in enumerate(draft):
        if preferred[index] != token or index == len(draft) - 1:
            break
        agreed.append(token)
    return agreed, preferred[len(agreed)]


def reported(draft: Draft, places: range, preferred_ids: list[int]) -> None:
    """Read some places, of which these tokens are preferred."""
    agreed = 0
    while agreed < len(places) and preferred_ids[agreed] == draft.at(places)[agreed]:
        agreed += 1
    draft.read(places, agreed, preferred_ids[agreed] if agreed < len(places) else None)


@given(
    draft=st.lists(TOKENS, min_size=1, max_size=12).map(tuple),
    preferred=st.lists(TOKENS, min_size=12, max_size=12),
    prompt_tokens=st.integers(1, 9),
    data=st.data(),
)
def test_any_chunks_tell_the_same_as_one_token_at_a_time(
    draft: tuple[int, ...], preferred: list[int], prompt_tokens: int, data: st.DataObject
) -> None:
    total = prompt_tokens + len(draft)
    cached = data.draw(st.integers(0, prompt_tokens - 1))
    inner = data.draw(
        st.sets(st.integers(cached + 1, total - 1)) if total > cached + 1 else st.just(set())
    )
    bounds = [cached, *sorted(inner), total]
    read = Draft(prompt_tokens, draft)
    for first, last in itertools.pairwise(bounds):
        places = read.places(first, last - first)
        reported(read, places, [preferred[position] for position in places])
    agreed, after = written(preferred, draft)
    assert (read.agreed, read.preferred) == (len(agreed), after)
    is_whole = len(agreed) == len(draft) - 1 and after == draft[-1]
    assert read.kept_tokens == (len(draft) if is_whole else len(agreed))


def test_a_draft_is_unread_until_the_place_of_its_first_difference_was_computed() -> None:
    draft = Draft(4, (7, 8, 9))
    assert draft.places(0, 3) == range(0)
    reported(draft, range(0), [])
    assert draft.preferred is None
    assert list(draft.places(0, 4)) == [0]
    reported(draft, range(1), [7])
    assert (draft.agreed, draft.preferred) == (1, None)


@pytest.mark.parametrize(("first", "positions"), [(0, 1), (0, 3), (2, 1), (7, 5), (90, 4)])
def test_positions_that_tell_no_place_are_an_empty_range(first: int, positions: int) -> None:
    places = Draft(4, (7, 8, 9)).places(first, positions)
    assert not places
    assert 0 <= places.start <= places.stop


def test_places_that_were_skipped_tell_nothing() -> None:
    draft = Draft(4, (7, 8, 9))
    reported(draft, range(1, 3), [8, 9])
    assert (draft.agreed, draft.preferred) == (0, None)


def test_a_chunk_that_is_computed_again_changes_nothing() -> None:
    draft = Draft(4, (7, 8, 9))
    reported(draft, range(1), [7])
    draft.restart()
    reported(draft, range(2), [7, 8])
    assert (draft.agreed, draft.preferred) == (2, None)


@given(draft=st.lists(st.integers(0, 3), max_size=8), most=st.integers(-1, 8))
def test_a_draft_ends_at_its_first_end_token_or_the_limit(draft: list[int], most: int) -> None:
    cut = until_end(draft, frozenset({END}), most)
    assert cut == tuple(draft[: len(cut)])
    assert END not in cut[:-1]
    is_whole = len(cut) == len(draft) or len(cut) == max(0, most)
    assert is_whole or cut[-1] == END


@pytest.mark.parametrize(
    ("token_ids", "vocabulary", "expected"),
    [
        ((1, 2, 3), 4, (1, 2, 3)),
        ((1, 4, 3), 4, (1,)),
        ((-1, 2), 4, ()),
        ((1, 9), None, (1, 9)),
        ((), 4, ()),
    ],
    ids=["all", "too-large", "negative", "unknown-vocabulary", "empty"],
)
def test_a_draft_ends_before_a_token_that_the_model_does_not_have(
    token_ids: tuple[int, ...], vocabulary: int | None, expected: tuple[int, ...]
) -> None:
    assert known_tokens(token_ids, vocabulary) == expected
