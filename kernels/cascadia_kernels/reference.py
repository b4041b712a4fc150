"""Float64 references of every op, one row at a time, written to be read."""

import math

import torch


def reference_row(logits: list[float], temperature: float) -> dict[str, float]:
    """The statistics of one row, as `row_statistics` names them without the shape suffix."""
    row = torch.tensor(logits, dtype=torch.float64)
    probabilities = torch.softmax(row, dim=0)
    finite = [x for x in logits if x != -math.inf]
    logsumexp = _logsumexp(finite)
    ordered = sorted(logits, reverse=True)
    return {
        "logsumexp": logsumexp,
        "tempered_logsumexp": _logsumexp([x / temperature for x in finite]),
        "entropy": -sum(p * math.log(p) for p in probabilities.tolist() if p > 0),
        "top1_logprob": ordered[0] - logsumexp,
        "margin": ordered[0] - ordered[1] if len(ordered) > 1 else math.inf,
        "self_certainty": -sum(math.log(len(finite)) + x - logsumexp for x in finite) / len(finite),
    }


def reference_logprob(logits: list[float], token_id: int) -> float:
    """Log-probability of one token under the raw logits."""
    return logits[token_id] - _logsumexp([x for x in logits if x != -math.inf])


def reference_draft(rows: list[list[float]], token_ids: list[int]) -> tuple[int, int]:
    """Tokens of one draft before the first that is not its row's likeliest, and the likeliest
    there; -1 where every one is."""
    for row, (logits, token) in enumerate(zip(rows, token_ids, strict=True)):
        likeliest = logits.index(max(logits))
        if likeliest != token:
            return row, likeliest
    return len(token_ids), -1


def _logsumexp(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(sum(math.exp(x - largest) for x in values))


def reference_probe(
    hidden: list[float], parameters: tuple[torch.Tensor, ...], epsilon: float
) -> float:
    """`hidden_probe` of one hidden state; parameters in the order of ProbeWeights."""
    norm_weight, norm_bias, first, first_bias, second, second_bias = (
        parameter.double().cpu() for parameter in parameters
    )
    row = torch.tensor(hidden, dtype=torch.float64)
    centred = row - row.mean()
    normed = centred / math.sqrt(centred.square().mean().item() + epsilon)
    inner = (normed * norm_weight + norm_bias) @ first + first_bias
    odds = (inner * torch.sigmoid(inner)) @ second + second_bias
    return float(torch.sigmoid(odds))
