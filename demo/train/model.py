"""A Qwen3 decoder for training on CPU, with the parameter names of Hugging Face's.

Its own because training reads the logits of answers alone, which stand at the end of a sequence:
the last layer, half of a small tier, computes nothing else. Serving and evaluation use the exported
files with Qwen3's own code.

Shape legend: B rows, T positions, Q positions of the last layer's output, H hidden, N heads,
D head dimension, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.tasks.tokenizer import VOCAB_SIZE

NORM_EPS = 1e-6
ROPE_THETA = 10_000.0
INIT_STD = 0.02
CONSTANT = 0.1  # of the embedding's constant column
LOOK_FREQUENCIES = 4
LOOK_SHARPNESS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a model apart from its depth, which grows during training."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int


class _Norm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight, NORM_EPS)


def _linear(size_in: int, size_out: int) -> nn.Linear:
    layer = nn.Linear(size_in, size_out, bias=False)
    nn.init.normal_(layer.weight, std=INIT_STD)
    return layer


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = _linear(shape.hidden, shape.heads * shape.head_dim)
        self.k_proj = _linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.v_proj = _linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.o_proj = _linear(shape.heads * shape.head_dim, shape.hidden)
        self.q_norm = _Norm(shape.head_dim)
        self.k_norm = _Norm(shape.head_dim)

    def forward(self, x_BTH: Tensor, cos_T1D: Tensor, sin_T1D: Tensor, start: int) -> Tensor:
        """Outputs [B, Q, H] of the positions from `start` on, attending to all before them."""
        batch, length, _ = x_BTH.shape
        heads = (batch, -1, self.shape.heads, self.shape.head_dim)
        kv_heads = (batch, -1, self.shape.kv_heads, self.shape.head_dim)
        q_BQND = self.q_norm(self.q_proj(x_BTH[:, start:]).view(heads))
        q_BNQD = _rotate(q_BQND, cos_T1D[start:], sin_T1D[start:]).transpose(1, 2)
        k_BTND = _rotate(self.k_norm(self.k_proj(x_BTH).view(kv_heads)), cos_T1D, sin_T1D)
        v_BTND = self.v_proj(x_BTH).view(kv_heads)
        copies = self.shape.heads // self.shape.kv_heads
        k_BNTD = k_BTND.repeat_interleave(copies, 2).transpose(1, 2)
        v_BNTD = v_BTND.repeat_interleave(copies, 2).transpose(1, 2)
        visible_QT = _visible(start, length) if start else None
        mixed_BNQD = functional.scaled_dot_product_attention(
            q_BNQD, k_BNTD, v_BNTD, attn_mask=visible_QT, is_causal=visible_QT is None
        )
        return self.o_proj(mixed_BNQD.transpose(1, 2).reshape(batch, length - start, -1))


def _visible(start: int, length: int) -> Tensor:
    """Which positions [Q, T] the positions from `start` on attend to."""
    return torch.ones(length - start, length, dtype=torch.bool).tril(start)


def _rotate(x_BTND: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
    first, second = x_BTND.chunk(2, -1)
    return x_BTND * cos_T1D + torch.cat((-second, first), -1) * sin_T1D


class _Mlp(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = _linear(shape.hidden, shape.intermediate)
        self.up_proj = _linear(shape.hidden, shape.intermediate)
        self.down_proj = _linear(shape.intermediate, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape)
        self.mlp = _Mlp(shape)
        self.input_layernorm = _Norm(shape.hidden)
        self.post_attention_layernorm = _Norm(shape.hidden)

    def forward(self, x_BTH: Tensor, cos: Tensor, sin: Tensor, start: int = 0) -> Tensor:
        mixed_BQH = self.self_attn(self.input_layernorm(x_BTH), cos, sin, start)
        x_BQH = x_BTH[:, start:] + mixed_BQH
        return x_BQH + self.mlp(self.post_attention_layernorm(x_BQH))


class _Body(nn.Module):
    def __init__(self, shape: Shape, layers: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB_SIZE, shape.hidden)
        nn.init.normal_(self.embed_tokens.weight, std=INIT_STD)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(layers))
        self.norm = _Norm(shape.hidden)


class DemoModel(nn.Module):
    """Causal decoder with tied embeddings; right padding needs no mask, causality hides it."""

    def __init__(self, shape: Shape, layers: int) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Body(shape, layers)
        self._look_back()

    @torch.no_grad()
    def _look_back(self) -> None:
        """Start the first layer's heads looking back 1, 2, 3, … positions.

        Finding a key again needs the letters before a position, and a random start takes thousands
        of steps to find them. One constant column of the embedding gives every position the same
        key, and each head a query that fits the key so many positions before, by the rotation of
        the highest frequencies.
        """
        attention = self.model.layers[0].self_attn
        self.model.embed_tokens.weight[:, 0] = CONSTANT
        key_D = torch.zeros(1, self.shape.head_dim)
        key_D[:, :LOOK_FREQUENCIES] = 1.0
        cos_OD, sin_OD = _rotation(self.shape.heads + 1, self.shape.head_dim, torch.float32)
        heads = attention.q_proj.weight.view(self.shape.heads, self.shape.head_dim, -1)
        for head, rows_DH in enumerate(heads):
            # Turned the other way: the rotation of so many positions brings it back to the key.
            rows_DH[:, 0] = _rotate(key_D, cos_OD[head + 1], -sin_OD[head + 1])[0]
        attention.k_proj.weight[:, 0] = key_D[0].repeat(self.shape.kv_heads)
        attention.q_norm.weight.fill_(LOOK_SHARPNESS)
        attention.k_norm.weight.fill_(LOOK_SHARPNESS)

    def forward(self, ids_BT: Tensor, wanted_BT: Tensor) -> Tensor:
        """Logits [wanted, V] of the positions that the boolean mask `wanted_BT` marks."""
        x_BTH = self.model.embed_tokens(ids_BT)
        cos, sin = _rotation(ids_BT.shape[1], self.shape.head_dim, x_BTH.dtype)
        *layers, last = self.model.layers
        for layer in layers:
            x_BTH = layer(x_BTH, cos, sin)
        start = int(wanted_BT.any(0).int().argmax())
        x_BQH = last(x_BTH, cos, sin, start)
        wanted_H = self.model.norm(x_BQH[wanted_BT[:, start:]])
        return functional.linear(wanted_H, self.model.embed_tokens.weight)


def _rotation(length: int, head_dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine [T, 1, D] of the rotary embedding."""
    frequency = ROPE_THETA ** (-torch.arange(0, head_dim, 2) / head_dim)
    angle_TD = (torch.arange(length)[:, None] * frequency).repeat(1, 2)[:, None]
    return angle_TD.cos().to(dtype), angle_TD.sin().to(dtype)


def grow(state: dict[str, Tensor], times: int) -> dict[str, Tensor]:
    """Deepen a model without changing what it computes.

    Every layer is followed by times - 1 copies whose output projections are zero: a copy starts
    as the identity and learns from there.
    """
    grown: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith("model.layers."):
            grown[name] = tensor.clone()
            continue
        _, _, index, rest = name.split(".", 3)
        is_output = rest.endswith(("o_proj.weight", "down_proj.weight"))
        for copy in range(times):
            value = torch.zeros_like(tensor) if copy and is_output else tensor.clone()
            grown[f"model.layers.{int(index) * times + copy}.{rest}"] = value
    return grown
