"""The recent prompts of a pool, and their most frequent prefixes."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from cascadia_sglang.prefix.prompt import Prompt

MAX_PROMPTS = 512
MAX_TOKENS = 1 << 19


class RecentPrompts:
    """A bounded list of prompts, the newest last. The only place that keeps prompts' tokens."""

    def __init__(self) -> None:
        self._prompts: deque[Prompt] = deque()
        self._tokens = 0

    def add(self, prompt: Prompt) -> None:
        """Note a prompt; the oldest ones make room."""
        self._prompts.append(prompt)
        self._tokens += len(prompt.token_ids)
        while len(self._prompts) > MAX_PROMPTS or self._tokens > MAX_TOKENS:
            self._tokens -= len(self._prompts.popleft().token_ids)

    def drop(self, prompts: Iterable[Prompt]) -> None:
        """Forget these prompts, and all that are equal to one of them."""
        dropped = {tuple(prompt.token_ids) for prompt in prompts}
        remaining = [prompt for prompt in self._prompts if tuple(prompt.token_ids) not in dropped]
        self._prompts = deque(remaining)
        self._tokens = sum(len(prompt.token_ids) for prompt in remaining)

    def clear(self) -> None:
        """Forget all."""
        self._prompts.clear()
        self._tokens = 0

    def hottest(self, block_tokens: int) -> list[Sequence[int]]:
        """Prompts whose beginning others share, in whole blocks, the most shared first.

        Of a conversation that is its newest turn, which the next one continues. A prompt whose
        blocks are all those of one before it in the list is left out.
        """
        uses = Counter(
            block for prompt in self._prompts for block in prompt.hashes(block_tokens).tolist()
        )
        ranked: list[tuple[int, int, Prompt]] = []
        for age, prompt in enumerate(reversed(self._prompts)):
            counts = [uses[block] for block in prompt.hashes(block_tokens).tolist()]
            saved = sum(count - 1 for count in counts)
            if saved:
                ranked.append((-saved, age, prompt))
        covered: set[int] = set()
        chosen: list[Sequence[int]] = []
        for _, _, prompt in sorted(ranked, key=lambda entry: entry[:2]):
            blocks = prompt.hashes(block_tokens).tolist()
            if not covered.issuperset(blocks):
                covered.update(blocks)
                chosen.append(prompt.token_ids[: len(blocks) * block_tokens])
        return chosen
