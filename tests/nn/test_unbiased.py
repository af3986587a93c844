"""UER's norm in one node is the formula, in value and in gradient."""

import pytest
import torch
from torch import Tensor

from mm_kptm.nn.sublayers import UnbiasedNorm
from mm_kptm.nn.unbiased import unbiased_norm


def formula(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) + bias


def drawn(*shape: int, dtype: torch.dtype = torch.double) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (shape, shape[-1:], shape[-1:])
    x, weight, bias = (torch.randn(size, generator=generator, dtype=dtype).requires_grad_() for size in sizes)
    return x, weight, bias


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4), (1, 3)])
@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_it_is_the_formula(shape: tuple[int, ...], eps: float, scale: float) -> None:
    """Rows whose deviation is as small as eps too, where the slope of eps matters."""
    x, weight, bias = drawn(*shape)
    small = (x * scale).detach().requires_grad_()
    pull = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    results = []
    for norm in (unbiased_norm, formula):
        y = norm(small, weight, bias, eps)
        results.append((y, *torch.autograd.grad((y * pull).sum(), (small, weight, bias))))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-9 * float(expected.detach().abs().max()), rtol=1e-9)


def test_its_gradient_is_its_slope() -> None:
    assert torch.autograd.gradcheck(lambda *given: unbiased_norm(*given, 0.3), drawn(4, 5))


def test_a_constant_row_is_the_bias() -> None:
    _, weight, bias = drawn(1, 4)
    x = torch.full((3, 4), 2.0, dtype=torch.double, requires_grad=True)
    y = unbiased_norm(x, weight, bias, 1e-6)
    torch.testing.assert_close(y, bias.expand(3, 4))
    y.sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


def test_coarse_numbers_are_normed_in_the_precision_of_the_weights() -> None:
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    norm = UnbiasedNorm(8)
    torch.testing.assert_close(norm(x), formula(x.float(), norm.weight, norm.bias, 1e-6))
    assert norm.bfloat16()(x).dtype == torch.bfloat16


def test_no_rows_are_no_trouble() -> None:
    x, weight, bias = drawn(0, 4)
    unbiased_norm(x, weight, bias, 1e-6).sum().backward()
    assert bias.grad is not None and not bias.grad.any()
