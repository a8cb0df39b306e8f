"""The Muon optimizer in the precision that the processor is fast at.

``torch.optim.Muon`` always computes in bfloat16, which a processor without bfloat16 instructions emulates some
twenty times slower than float32. This one takes the precision as an argument, and orthogonalises all matrices of
one shape together. Method: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with
the learning rate scaled as in Liu et al., "Muon is Scalable for LLM Training" (arXiv:2502.16982).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest half-orthogonal matrices, roughly: singular values between 0.5 and 1.5; (count, rows, columns)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; for matrices only."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        weight_decay: float,
        momentum: float,
        precision: torch.dtype,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[matrix.shape].append(matrix)
            for shape, matrices in shapes.items():
                updates = []
                for matrix in matrices:
                    kept = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                    kept.lerp_(matrix.grad, 1 - group["momentum"])
                    updates.append(matrix.grad.lerp(kept, group["momentum"]))
                turned = orthogonal(torch.stack(updates).to(self.precision)).to(matrices[0].dtype)
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, update in zip(matrices, turned, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)
