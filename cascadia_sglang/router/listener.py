"""What the controller hears of the requests on their way."""

from typing import Protocol

from cascadia_sglang.router.attempt import Attempt


class Listener(Protocol):
    """Whoever is told of every prompt that comes, and of what became of it."""

    def arrived(self) -> None: ...

    def escalated(self, attempts: list[Attempt], seconds: float, is_own_way: bool) -> None: ...

    def finished(self, attempts: list[Attempt], seconds: float, is_own_way: bool) -> None: ...
