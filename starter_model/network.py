"""The network in training: a small Llama, with parameters named as the Hugging Face format names them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of the network; widths in channels, ``positions`` in tokens."""

    vocabulary: int
    width: int = 256
    inner: int = 768
    layers: int = 6
    heads: int = 4
    head_width: int = 64
    positions: int = 2048
    theta: float = 10000.0
    epsilon: float = 1e-5


class Norm(nn.Module):
    """Root-mean-square normalisation."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.epsilon)


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_width = shape.heads, shape.head_width
        inside = shape.heads * shape.head_width
        self.q_proj = nn.Linear(shape.width, inside, bias=False)
        self.k_proj = nn.Linear(shape.width, inside, bias=False)
        self.v_proj = nn.Linear(shape.width, inside, bias=False)
        self.o_proj = nn.Linear(inside, shape.width, bias=False)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.head_width).transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query, key, value = (self._split(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The vectors turned by their positions' angles, in the half-split order of Llama.

    The first half of ``sin`` is negated.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((second, first), dim=-1), sin)


class FeedForward(nn.Module):
    """The gated feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One block: attention, then feed-forward, each after a norm and added to its input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(shape), Norm(shape)
        self.self_attn, self.mlp = Attention(shape), FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The stack of layers between the embedding and the last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)


class StarterModel(nn.Module):
    """The whole model; its output weights are its embedding (tied). It computes in ``precision``."""

    def __init__(self, shape: Shape, precision: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.precision = precision
        self.model = Decoder(shape)
        angles = shape.theta ** (-torch.arange(0, shape.head_width, 2) / shape.head_width)
        table = torch.outer(torch.arange(shape.positions), angles)
        self.register_buffer("cos", table.cos().repeat(1, 2), persistent=False)
        self.register_buffer("sin", torch.cat((-table.sin(), table.sin()), dim=1), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                scale = 0.02 if "embed" in name else weight.shape[1] ** -0.5
                nn.init.normal_(weight, std=scale * (0.3 if "o_proj" in name or "down_proj" in name else 1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """The last hidden states, (rows, length, width)."""
        x = self.model.embed_tokens(tokens).to(self.precision)
        cos, sin = (t[: tokens.shape[1]].to(x.dtype) for t in (self.cos, self.sin))
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.model.norm(x)

    def loss(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to train on, and the mean cross-entropy in nats over the targets that are not negative.

        What is known already weighs little: each token counts by the probability that the model still gives
        to other tokens. So the few tokens that decide which answer is meant outweigh the many that follow.

        Some positions without a target fill up the count to a multiple of 256, so that shapes repeat.
        """
        flat = targets.reshape(-1)
        wanted = torch.nonzero(flat >= 0).squeeze(1)
        spare = torch.nonzero(flat < 0).squeeze(1)[: -len(wanted) % 256]
        chosen = torch.cat((wanted, spare))
        logits = F.linear(
            hidden.reshape(-1, hidden.shape[-1])[chosen], self.model.embed_tokens.weight.to(hidden.dtype)
        )
        logits, wanted = logits.float(), flat[chosen]
        losses = F.cross_entropy(logits, wanted, ignore_index=-100, reduction="none")
        weights = (1.05 - torch.exp(-losses.detach())) * (wanted >= 0)
        return (losses * weights).sum() / weights.sum(), losses.sum().detach() / (wanted >= 0).sum()
