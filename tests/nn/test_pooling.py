import torch

from mm_kptm.batch import SequenceLayout
from mm_kptm.nn.pooling import POOLINGS


def test_poolings_are_those_of_each_sequence_alone() -> None:
    layout = SequenceLayout((3, 1, 4))
    rows = torch.randn(8, 5)
    alone = {
        "first": lambda part: part[0],
        "last": lambda part: part[-1],
        "mean": lambda part: part.mean(0),
        "max": lambda part: part.max(0).values,
    }
    assert POOLINGS.keys() == alone.keys()
    for name, pooling in POOLINGS.items():
        expected = torch.stack([alone[name](part) for part in layout.split(rows)])
        torch.testing.assert_close(pooling(rows, layout), expected)


def test_gradients_flow_through_every_pooling() -> None:
    layout = SequenceLayout((2, 3))
    for pooling in POOLINGS.values():
        rows = torch.randn(5, 4, requires_grad=True)
        pooling(rows, layout).sum().backward()
        assert rows.grad is not None and torch.isclose(rows.grad.sum(), torch.tensor(8.0))
