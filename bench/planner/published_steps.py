"""Decoding steps that SGLang and vLLM publish, beside those of the roofline.

Example:
    python -m bench.planner.published_steps    # prints the table of the docs
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from cascadia_sglang.planner.speed.roofline import GPUS, load_shape, roofline_times

QWEN3 = "Qwen3's speed benchmark, SGLang 0.4.6"
QWEN25 = "Qwen2.5's speed benchmark, vLLM 0.6.3"
SILYBENCH = "silybench, vLLM 0.30"
BUILDKITE = "vLLM's performance benchmark, build 9515"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedStep:
    """A published decoding step.

    Attributes:
        published_ms: of a step: seconds over tokens, or latency over the tokens of an answer.
        rows: of the batch.
        context: of a row, mean over the answer.
        allowed: relative error that the test allows.
    """

    gpu: str
    tp: int
    model: str
    rows: int
    context: int
    published_ms: float
    source: str
    allowed: float = 0.2
    weight_bytes: float = 2.0

    def __str__(self) -> str:
        bits = "" if self.weight_bytes == 2.0 else " FP8"
        return f"{self.model.split('/')[1]}{bits} on {self.tp} {self.gpu}"

    @property
    def roofline_ms(self) -> float:
        """The roofline's."""
        shape = replace(load_shape(self.model), weight_bytes=self.weight_bytes)
        times = roofline_times(shape, GPUS[self.gpu], self.tp, 1)
        return 1e3 * times.decode_s(self.rows, self.rows * self.context)

    @property
    def error(self) -> float:
        """Of the roofline, relative to what is published."""
        return self.roofline_ms / self.published_ms - 1.0


def _qwen3(model: str, per_s: float, allowed: float = 0.2) -> PublishedStep:
    return PublishedStep(
        gpu="H20",
        tp=1,
        model=f"Qwen/{model}",
        rows=1,
        context=1024,
        published_ms=1e3 / per_s,
        source=QWEN3,
        allowed=allowed,
    )


def _qwen25(model: str, tp: int, per_s: float, allowed: float = 0.2) -> PublishedStep:
    return PublishedStep(
        gpu="A100",
        tp=tp,
        model=f"Qwen/{model}-Instruct",
        rows=1,
        context=1024,
        published_ms=1e3 / per_s,
        source=QWEN25,
        allowed=allowed,
    )


def _buildkite(model: str, tp: int, seconds: float) -> PublishedStep:
    return PublishedStep(
        gpu="H200",
        tp=tp,
        model=f"meta-llama/{model}-Instruct",
        rows=8,
        context=96,
        published_ms=1e3 * seconds / 128,
        source=BUILDKITE,
    )


def _silybench(rows: int, itl_ms: float, allowed: float = 0.2) -> PublishedStep:
    return PublishedStep(
        gpu="H100",
        tp=1,
        model="Qwen/Qwen3-8B",
        rows=rows,
        context=3072,
        published_ms=itl_ms,
        source=SILYBENCH,
        allowed=allowed,
        weight_bytes=1.0,
    )


# Tokens per second of one request that writes 2,048 tokens to a prompt of one; latency of eight
# that write 128 tokens to prompts of 32.
PUBLISHED = (
    _qwen3("Qwen3-0.6B", 414.17, allowed=0.35),
    _qwen3("Qwen3-1.7B", 227.80),
    _qwen3("Qwen3-4B", 133.13),
    _qwen3("Qwen3-8B", 81.73),
    # The table has the same model with eight bits at 46.17: more than twice as fast.
    _qwen3("Qwen3-32B", 20.72, allowed=0.3),
    _qwen25("Qwen2.5-0.5B", 1, 311.55, allowed=0.4),
    _qwen25("Qwen2.5-1.5B", 1, 183.33, allowed=0.4),
    _qwen25("Qwen2.5-14B", 1, 46.30),
    _qwen25("Qwen2.5-72B", 2, 18.19),
    _qwen25("Qwen2.5-72B", 4, 31.37),
    _silybench(1, 4.796, allowed=0.35),
    _silybench(4, 5.319, allowed=0.35),
    _silybench(16, 7.217, allowed=0.25),
    _buildkite("Llama-3.1-8B", 1, 0.83342),
    _buildkite("Llama-3.1-70B", 4, 2.07753),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="the same: it takes no time")
    parser.parse_args()
    print("| model, GPUs | rows | published, ms a step | roofline, ms | error | source |")
    print("|---|---|---|---|---|---|")
    for row in PUBLISHED:
        print(
            f"| {row} | {row.rows} | {row.published_ms:.2f} | {row.roofline_ms:.2f} "
            f"| {100 * row.error:+.0f} % | {row.source} |"
        )


if __name__ == "__main__":
    main()
