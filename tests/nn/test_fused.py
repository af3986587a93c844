"""The operator that folds an activation into a linear map gives the plain numbers, or is not used."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.nn import fused
from mm_kptm.nn.fused import project

needs_operator = pytest.mark.skipif(not fused._HAS_OPERATOR, reason="this torch has no oneDNN linear operator")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the activations that were folded, in order."""
    made: list[str] = []
    real = torch.ops.mkldnn._linear_pointwise

    class Watched:
        def _linear_pointwise(self, x: Tensor, w: Tensor, b: Tensor | None, kind: str, *rest: object) -> Tensor:
            made.append(kind)
            return real(x, w, b, kind, *rest)

    monkeypatch.setattr(torch.ops, "mkldnn", Watched())
    return made


@needs_operator
@pytest.mark.parametrize("activation", [None, F.gelu, F.relu])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_projection_is_the_linear_map(
    activation: Callable[[Tensor], Tensor] | None, bias: bool, calls: list[str]
) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(16, 24, bias=bias), torch.randn(9, 16) * 4
    expected = linear(x) if activation is None else activation(linear(x))
    torch.testing.assert_close(project(linear, x, activation), expected, atol=1e-6, rtol=1e-5)
    assert calls == ["gelu" if activation is F.gelu else "none"]


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@needs_operator
def test_what_the_operator_would_change_takes_the_plain_way(calls: list[str]) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(4, 4), torch.randn(3, 4)
    project(linear, x, F.gelu).sum().backward()
    assert linear.weight.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(project(linear.double(), x.double()), linear(x.double()))
        torch.testing.assert_close(project(Doubled(4, 4), torch.zeros(0, 4)), torch.zeros(0, 4))
        doubled = Doubled(4, 4)
        torch.testing.assert_close(project(doubled, x), doubled(x))
        hooked = nn.Linear(4, 4)
        hooked.register_forward_hook(lambda *_: torch.zeros(3, 4))
        assert (project(hooked, x) == 0).all()
        with torch.autocast("cpu", torch.bfloat16):
            assert project(nn.Linear(4, 4), x).dtype == torch.bfloat16
    assert calls == []


@torch.no_grad()
def test_without_the_operator_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(16, 24), torch.randn(9, 16)
    ours = project(linear, x, F.gelu)
    monkeypatch.setattr(fused, "_HAS_OPERATOR", False)
    torch.testing.assert_close(ours, project(linear, x, F.gelu), atol=1e-6, rtol=1e-5)


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small maps are trained as large ones are."""
    monkeypatch.setattr(fused, "_MIN_TRAINING_FLOPS", 0)


@needs_operator
@pytest.mark.usefixtures("learning")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pull", [torch.randn(9, 24), torch.ones(1, 1).expand(9, 24), torch.randn(24, 9).t()])
def test_training_has_the_gradients_of_the_linear_map(bias: bool, pull: Tensor, calls: list[str]) -> None:
    """However the gradient that comes back lies in memory."""
    torch.manual_seed(0)
    linear, x = nn.Linear(16, 24, bias=bias), torch.randn(9, 16, requires_grad=True)
    inputs = [x, *linear.parameters()]
    expected = torch.autograd.grad(linear(x), inputs, pull)
    for ours, theirs in zip(torch.autograd.grad(project(linear, x), inputs, pull), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert calls == ["none", "none"]  # forward, and the gradient of the rows


@needs_operator
@pytest.mark.usefixtures("learning")
def test_frozen_maps_and_given_rows_have_no_gradient(calls: list[str]) -> None:
    linear, x = nn.Linear(16, 24), torch.randn(9, 16, requires_grad=True)
    project(linear, x.detach()).sum().backward()
    assert calls == ["none"] and x.grad is None and linear.weight.grad is not None
    frozen = nn.Linear(16, 24).requires_grad_(False)
    project(frozen, x).sum().backward()
    assert frozen.weight.grad is None and frozen.bias.grad is None and x.grad is not None


@needs_operator
def test_small_maps_are_trained_the_plain_way(calls: list[str]) -> None:
    linear = nn.Linear(256, 1024)
    project(linear, torch.zeros(255, 256)).sum().backward()
    assert calls == []
    project(linear, torch.zeros(256, 256))
    assert calls == ["none"]
