"""An evaluation sees every example once and says so in their order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.train import evaluate
from mm_kptm.train.evaluation import loader_of
from tests.train.toy import Line, Points, PointSource


class Recall(nn.Module):
    """Measures the first number of each example, which tells the examples apart."""

    def loss(self, batch):
        pytest.fail("an evaluation asks for no loss")

    def measure(self, batch):
        return {"first": batch.x[:, 0], "squared": batch.x[:, 0] ** 2}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_measures_stand_in_the_order_of_the_source(batch_size, num_workers):
    source = PointSource(11)
    loader = loader_of(source, seed=0, num_workers=num_workers)
    evaluation = evaluate(Recall(), source, batch_size=batch_size, loader=loader)
    assert evaluation.n == 11
    again = evaluate(Recall(), source, batch_size=batch_size, max_tokens=2, loader=loader)
    assert torch.equal(again.per_example["first"], evaluation.per_example["first"]), "other batches, the same workers"
    assert evaluation.per_example["first"].tolist() == source.x[:, 0].double().tolist()
    assert evaluation.means["squared"] == pytest.approx((source.x[:, 0].double() ** 2).mean().item())


def test_dropout_is_off_and_the_mode_comes_back():
    model = Line(dropout=0.9)
    first, second = (evaluate(model, PointSource(9)).means for _ in range(2))
    assert first == second
    assert model.training
    evaluate(model.eval(), PointSource(9))
    assert not model.training


def test_no_gradient_is_kept():
    model = Line()
    assert not evaluate(model, PointSource(5)).per_example["error"].requires_grad


def test_bf16_is_near_but_not_the_same():
    full, half = (evaluate(Line(), PointSource(50), precision=p).means["error"] for p in ("fp32", "bf16"))
    assert half != full and half == pytest.approx(full, rel=0.05)


def test_every_batch_has_a_generator_of_its_own():
    drawn = []

    class Source(PointSource):
        def batch(self, indices, generator):
            drawn.append(generator.initial_seed())
            return super().batch(indices, generator)

    evaluate(Line(), Source(10), batch_size=3)
    evaluate(Line(), Source(10), batch_size=3)
    assert len(set(drawn)) == 4 and drawn[:4] == drawn[4:]


def test_no_examples_is_an_error():
    with pytest.raises(UserError, match="there is no example to evaluate on"):
        evaluate(Line(), PointSource(0))


def test_a_measure_must_be_one_number_an_example():
    class Coarse(Recall):
        def measure(self, batch: Points):
            return {"mean": torch.zeros(())}

    with pytest.raises(ValueError, match=r"Coarse measured mean as \[\] on 3 examples"):
        evaluate(Coarse(), PointSource(3))


def test_a_model_must_be_a_module():
    with pytest.raises(TypeError, match=r"a model must be a torch\.nn\.Module, but object is not"):
        evaluate(object(), PointSource(3))
