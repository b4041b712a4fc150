"""Reports to the warmer how much of a warmed prefix an attempt used."""

from cascadia_sglang.prefix.warming import Warmer
from cascadia_sglang.router.engine_protocol import RequestReader
from cascadia_sglang.router.events import PromptFinished


class UsedPrefixes:
    """Shows the warmer what its work was good for."""

    def __init__(self, warmer: Warmer, engine: RequestReader) -> None:
        self._warmer = warmer
        self._engine = engine

    def prompt_finished(self, event: PromptFinished) -> None:
        """Learn how many of the prompt's tokens each attempt found cached."""
        for attempt in event.attempts:
            prompt = self._engine.prompt(event.prompt.sample, attempt.tier_index)
            if prompt is not None and self._warmer.is_long(prompt):
                self._warmer.learn_cached(attempt.tier_index, prompt, attempt.cached_tokens)
