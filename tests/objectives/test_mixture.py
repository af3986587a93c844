"""A mixture is the weighted sum of its parts."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs, Movable, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture


@dataclass(frozen=True)
class Drawn(Movable):
    value: Tensor


class Constant:
    """An objective whose loss is known."""

    def __init__(self, name: str, value: float) -> None:
        self.name, self.value = name, value

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Drawn:
        return Drawn(torch.rand(len(inputs), generator=generator))

    def loss(self, system: Any, batch: Drawn) -> Tensor:
        return system.weight.sum() * 0 + self.value

    def measure(self, system: Any, batch: Drawn) -> Tensor:
        return batch.value


INPUTS = Inputs(text=Tokens.of([[1], [2, 3]]))


def mixture(*names: str, weights: tuple[float, ...] = (2.0, 0.5)) -> Mixture:
    objectives = {name: Constant(name, value) for name, value in zip(names, (3.0, 4.0), strict=True)}
    return Mixture(nn.Linear(1, 1), objectives, dict(zip(names, weights, strict=True)))


def test_losses_add_up_by_their_weights() -> None:
    mixed = mixture("b", "a")
    batches = mixed.prepare(INPUTS, torch.Generator().manual_seed(0))
    assert mixed.loss(batches) == 2.0 * 3 + 0.5 * 4
    assert mixed.loss(batches).requires_grad


def test_draws_do_not_depend_on_the_order_of_the_objectives() -> None:
    first, second = (
        mixture(*names).measure(mixture(*names).prepare(INPUTS, torch.Generator().manual_seed(3)))
        for names in (("a", "b"), ("b", "a"))
    )
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_puzzles_count_examples_and_move() -> None:
    batches = mixture("a", "b").prepare(INPUTS, torch.Generator())
    assert len(batches) == 2 and all(batch.value.is_meta for batch in batches.to("meta").by_name.values())


class Follower(Constant):
    """An objective that notes the steps it is told of."""

    def after_step(self, system: Any, step: int) -> None:
        self.value = step * float(system.weight.new_ones(1))


def test_objectives_that_follow_the_weights_are_told_of_every_step() -> None:
    follower, plain = Follower("a", 0.0), Constant("b", 1.0)
    mixed = Mixture(nn.Linear(1, 1), {"a": follower, "b": plain}, {"a": 1.0, "b": 1.0})
    mixed.after_step(7)
    assert (follower.value, plain.value) == (7.0, 1.0)


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^a mixture needs at least one objective$"):
        Mixture(nn.Linear(1, 1), {}, {})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    with pytest.raises(UserError, match=rf"^the weight of objective b must be positive, not {weight}$"):
        mixture("a", "b", weights=(1.0, weight))
