"""Two streams side by side."""

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout
from mm_kptm.nn.ragged import cross_attention_layout, self_attention_layout
from mm_kptm.nn.steps import CrossStep, Pair, SelfStep, Stream
from mm_kptm.nn.sublayers import attention_sublayer, bert_layer

LEFT, RIGHT = SequenceLayout((2, 3)), SequenceLayout((4, 1))


def streams() -> Pair:
    torch.manual_seed(0)
    return Pair(Stream.of(torch.randn(5, 8), LEFT), Stream.of(torch.randn(5, 8), RIGHT))


def test_a_side_without_a_layer_waits_unchanged() -> None:
    pair, layer = streams(), bert_layer(8, 2).eval()
    after = SelfStep(None, layer)(pair)
    assert after.left.x is pair.left.x
    torch.testing.assert_close(after.right.x, layer(pair.right.x, self_attention_layout(RIGHT)))


def test_both_sides_read_the_other_as_it_was_before() -> None:
    pair, left, right = streams(), bert_layer(8, 2).eval(), bert_layer(8, 2).eval()
    after = CrossStep(left, right)(pair)
    torch.testing.assert_close(after.left.x, left(pair.left.x, cross_attention_layout(LEFT, RIGHT), pair.right.x))
    torch.testing.assert_close(after.right.x, right(pair.right.x, cross_attention_layout(RIGHT, LEFT), pair.left.x))
    assert after.left.layout == LEFT and after.right.layout == RIGHT


def test_one_sublayer_for_both_directions_is_counted_once() -> None:
    shared = attention_sublayer(8, 2)
    step = CrossStep(shared, shared)
    assert len(list(step.parameters())) == len(list(shared.parameters()))
    assert all("right" not in name for name, _ in step.named_parameters())


def test_sharing_makes_the_directions_equal() -> None:
    """With the same layer and the same rows on both sides, neither side is special."""
    shared, x = attention_sublayer(8, 2).eval(), torch.randn(5, 8)
    after = CrossStep(shared, shared)(Pair(Stream.of(x, LEFT), Stream.of(x, LEFT)))
    assert torch.equal(after.left.x, after.right.x)


def test_cut_off_streams_are_two_single_streams() -> None:
    """Without a cross step, one side never learns of the other."""
    layers = [bert_layer(8, 2).eval() for _ in range(4)]
    steps = [SelfStep(layers[0], layers[1]), SelfStep(layers[2], layers[3])]

    def run(pair: Pair) -> Tensor:
        for step in steps:
            pair = step(pair)
        return pair.left.x

    pair = streams()
    noisy = pair._replace(right=pair.right._replace(x=pair.right.x + 1e3))
    assert torch.equal(run(pair), run(noisy))
    alone = layers[2](layers[0](pair.left.x, self_attention_layout(LEFT)), self_attention_layout(LEFT))
    torch.testing.assert_close(run(pair), alone)
