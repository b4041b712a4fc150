"""How workers divide the memory that they share."""

from cascadia_sglang.memory.shares import Need, divided, first_short
from cascadia_sglang.planner.speed.roofline import LEAST_KV_TOKENS

SMALL = Need(name="small", count=1, weights_bytes=1.2e9, own_bytes=0.5e9, kv_bytes=1e3)
LARGE = Need(name="large", count=2, weights_bytes=16.0e9, own_bytes=0.5e9, kv_bytes=1.5e3)
ODD = Need(name="odd", count=1, weights_bytes=2.4e9, own_bytes=0.5e9, kv_bytes=None)


def test_every_pool_has_room_for_the_same_number_of_tokens() -> None:
    small, large = divided([SMALL, LARGE], pools_bytes=4e9)
    tokens = 4e9 / (1e3 + 2 * 1.5e3)
    assert small == 1.2e9 + 0.5e9 + 1e3 * tokens
    assert large == 16.0e9 + 0.5e9 + 1.5e3 * tokens


def test_what_is_divided_is_all_that_there_is() -> None:
    needs = [SMALL, LARGE]
    parts = divided(needs, pools_bytes=7e9)
    total = sum(need.count * part for need, part in zip(needs, parts, strict=True))
    assert total == 7e9 + 1.2e9 + 2 * 16e9 + 3 * 0.5e9


def test_without_a_known_shape_the_weights_say_how_large_a_cache_is() -> None:
    small, odd = divided([SMALL, ODD], pools_bytes=3e9)
    assert (small, odd) == (1.2e9 + 0.5e9 + 1e9, 2.4e9 + 0.5e9 + 2e9)


def test_the_first_that_finds_too_little_is_named_with_what_it_lacks() -> None:
    assert str(first_short([SMALL, LARGE], 30e9)) == (
        "tier large lacks 4.7 GB: it needs 2 x 16.5 GB, 28.3 GB are left"
    )
    least = 1.7e9 + 2 * 16.5e9 + LEAST_KV_TOKENS * (1e3 + 2 * 1.5e3)
    assert first_short([SMALL, LARGE], least + 1) is None
    assert first_short([SMALL, LARGE], least - 1) is not None
