"""Counts every finished prompt in the metrics."""

from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.router.events import PromptFinished, RequestRefused


class PromptMetrics:
    """Counts prompts by their tier and reason, or by their error's HTTP status."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def prompt_finished(self, event: PromptFinished) -> None:
        """Count a prompt that got an answer or an error."""
        if event.chosen is None:
            self._metrics.failed(event.attempts, event.status)
        else:
            self._metrics.answered(event.attempts, event.chosen, event.seconds, event.ttft_s)

    def request_refused(self, event: RequestRefused) -> None:
        """Count a request that ended before it had any prompt."""
        self._metrics.failed((), event.status)
