"""The LayerNorm of the UER toolkit as one autograd function.

Composed of elementary operations, its ten passes over memory took an eighth of a training step of K-BERT (4 layers of
256, one thread); torch's own LayerNorm does nearly all of it in two.

Shapes: T rows, D dim.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_TINY = 1e-24  #: keeps the deviation of a constant row from being zero; far below eps squared, so it is not seen


def unbiased_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    r""":math:`g\,(x - \mu) / (s + \epsilon) + b` with the standard deviation s over D - 1; [T, D]."""
    normed: Tensor = _UnbiasedNorm.apply(x, weight, bias, eps)
    return normed


class _UnbiasedNorm(torch.autograd.Function):
    r"""The standard LayerNorm h of a row, with :math:`\rho = 1 / \sigma`, times :math:`k = 1 / (c + \epsilon \rho)`.

    :math:`c = \sqrt{D / (D - 1)}` takes :math:`\sigma` to s. In the gradient k is first a constant; that it depends on
    the row adds :math:`\epsilon k^2 \rho^2 h \sum_j h_j (g \nabla)_j / D`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        dim = x.shape[-1]
        normed, mean, inverse = torch.native_layer_norm(x, (dim,), None, None, _TINY)
        scale = 1 / ((dim / (dim - 1)) ** 0.5 + eps * inverse)
        normed.mul_(scale.to(x.dtype))
        ctx.save_for_backward(x, weight, normed, mean, inverse, scale)
        ctx.eps = eps
        return torch.addcmul(bias, weight, normed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, normed, mean, inverse, scale = ctx.saved_tensors
        gradient_x, _, _ = torch.ops.aten.native_layer_norm_backward(
            gradient, x, x.shape[-1:], mean, inverse, weight, None, [True, False, False]
        )
        weighted = gradient * normed
        correction = ctx.eps * inverse.square() * weighted.matmul(weight).unsqueeze(-1) / x.shape[-1]
        gradient_x.mul_(scale.to(x.dtype)).addcmul_(normed, correction.to(x.dtype))
        return gradient_x, weighted.flatten(0, -2).sum(0), gradient.flatten(0, -2).sum(0), None
