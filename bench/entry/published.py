"""RouteLLM's own numbers, as its paper gives them.

Ong et al., RouteLLM: Learning to Route LLMs with Preference Data, arXiv 2406.18665v4: table 2
(MMLU, 14,042 questions), table 3 (GSM8K, above 1,000), table 7 (requests per second; one L4 GPU for
all but SW ranking, which ran on 8 virtual CPUs). Same two models: gpt-4-1106-preview and
Mixtral-8x7B.

They were trained on other data: 65,000 votes of Chatbot Arena (`arena`), with about 1,500 questions
of MMLU's validation split (`gold`) or about 120,000 comparisons by a GPT-4 judge (`judge`) added.
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "arXiv 2406.18665v4"


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A line of the paper's tables 2 and 3; shares, not percent."""

    set_name: str
    training: str
    method: str
    cpt50: float
    cpt80: float
    apgr: float


PUBLISHED = (
    PublishedResult("mmlu", "arena", "BERT", 0.4943, 0.7780, 0.502),
    PublishedResult("mmlu", "arena", "causal LLM (Llama 3 8B)", 0.4888, 0.7793, 0.499),
    PublishedResult("mmlu", "arena", "matrix factorisation", 0.4500, 0.7686, 0.524),
    PublishedResult("mmlu", "arena", "SW ranking", 0.5582, 0.8025, 0.473),
    PublishedResult("mmlu", "arena + gold", "BERT", 0.4130, 0.7220, 0.572),
    PublishedResult("mmlu", "arena + gold", "causal LLM (Llama 3 8B)", 0.3549, 0.7031, 0.600),
    PublishedResult("mmlu", "arena + gold", "matrix factorisation", 0.3546, 0.7140, 0.597),
    PublishedResult("mmlu", "arena + gold", "SW ranking", 0.3540, 0.7155, 0.603),
    PublishedResult("gsm8k", "arena", "BERT", 0.5878, 0.8384, 0.438),
    PublishedResult("gsm8k", "arena", "causal LLM (Llama 3 8B)", 0.5609, 0.8356, 0.461),
    PublishedResult("gsm8k", "arena", "matrix factorisation", 0.5359, 0.8524, 0.4746),
    PublishedResult("gsm8k", "arena", "SW ranking", 0.5443, 0.8211, 0.4753),
    PublishedResult("gsm8k", "arena + judge", "BERT", 0.4476, 0.7909, 0.531),
    PublishedResult("gsm8k", "arena + judge", "causal LLM (Llama 3 8B)", 0.3364, 0.6326, 0.622),
    PublishedResult("gsm8k", "arena + judge", "matrix factorisation", 0.3882, 0.7262, 0.565),
    PublishedResult("gsm8k", "arena + judge", "SW ranking", 0.4121, 0.7220, 0.568),
)

# Requests per second of each method, table 7.
REQUESTS_PER_S = {
    "SW ranking": 2.9,
    "matrix factorisation": 155.16,
    "BERT": 69.62,
    "causal LLM": 42.46,
}
