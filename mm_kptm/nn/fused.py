"""Linear layers by oneDNN with fused activation, where the CPU build of torch has that operator.

torch multiplies float32 by MKL, which is slow on AMD processors: there whole encoders gain a factor 1.6 to 1.8 by this
at inference, a step of training 1.3 (one thread). Without it LXMERT falls below its recorded bar (``g06`` in
``docs/benchmarks.md``), which is why it stays. torch offers the operator without gradients and under a private name, so
its presence is tested and everything else takes ``torch.nn.Linear``.

Shapes: Q rows, D dim in, F dim out.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Multiplications per call below which training uses torch's linear: oneDNN takes up to a millisecond for each new
#: number of rows, and numbers of rows change from batch to batch.
_MIN_TRAINING_FLOPS = 1 << 26
_HAS_OPERATOR = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def project(linear: nn.Module, x: Tensor, activation: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """``linear(x)``, or ``activation`` of it: [Q, D] -> [Q, F]."""
    if type(linear) is not nn.Linear or not _supported(linear, x):
        projected = linear(x)
    elif not torch.is_grad_enabled():
        if activation is F.gelu:
            return torch.ops.mkldnn._linear_pointwise(x, linear.weight, linear.bias, "gelu", [], "none")
        projected = _product(x, linear.weight, linear.bias)
    elif x.numel() * linear.out_features >= _MIN_TRAINING_FLOPS:
        projected = _FusedLinear.apply(x, linear.weight, linear.bias)
    else:
        projected = linear(x)
    return projected if activation is None else activation(projected)


def matmul_transposed(x: Tensor, other: Tensor) -> Tensor:
    """The product ``x @ other.T`` of [Q, D] and [F, D], without gradients of its own: [Q, F]."""
    if _HAS_OPERATOR and x.device.type == "cpu" and x.dtype == torch.float32 and len(x) and len(other):
        return _product(x, other, None)
    return x @ other.T


class _FusedLinear(torch.autograd.Function):
    """Fused linear layer with gradients; the weight gradient is no faster by oneDNN and uses torch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t(), None) if needs_x else None,
            gradient.t() @ x if needs_weight else None,
            gradient.sum(0) if needs_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _supported(linear: nn.Linear, x: Tensor) -> bool:
    """Whether the operator applies: on a CPU, at least one row, no autocast, compilation or hooks."""
    return (
        _HAS_OPERATOR
        and x.dim() == 2
        and x.device.type == "cpu"
        and x.dtype == linear.weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        and len(x) > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not linear._forward_hooks
        and not linear._forward_pre_hooks
    )
