"""Which tiers an HTTP request outside the cascade is for: a value that follows the request.

SGLang's routes hand nothing of the HTTP request to the calls that they make. So the value lies in
a context variable, of which the task of every request has its own:

- `http.guard` sets it, once it has read which tier the request names.
- `engine.control` sends a control call to the workers of these tiers.
- `http.door` pins a generation to them, as on routes that ask one tier.
"""

from contextvars import ContextVar

_TARGET_TIERS: ContextVar[frozenset[int] | None] = ContextVar("target_tiers", default=None)


def set_target_tier(tier_index: int | None) -> None:
    """Note the tier that this request is for; None for all."""
    _TARGET_TIERS.set(None if tier_index is None else frozenset({tier_index}))


def target_tiers() -> frozenset[int] | None:
    """Indices of the tiers that this request is for; None for all."""
    return _TARGET_TIERS.get()
