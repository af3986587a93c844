"""Layer stacks of an encoder into which knowledge modules are inserted, whatever the class of the encoder.

An encoder may offer two capabilities. Its layers *run one after the other*, each called with all rows and their
attention layout: modules can be inserted between them (:func:`layer_stack`). Or its hidden states *can be iterated*
depth by depth: modules can be added beside it (:func:`state_stack`). The text layers of a two-stream encoder, before
the streams interact, offer both.

Shapes: T rows of the text, D dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import takewhile
from typing import Any, Concatenate, ParamSpec, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Inputs
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.steps import Pair, SelfStep, Stream

P = ParamSpec("P")


@runtime_checkable
class Walkable(Protocol):
    """Single stream with its own forward pass over the layers that exposes its hidden states at every depth."""

    def states(self, inputs: Inputs, assembled: Assembled) -> Iterator[Tensor]:
        """Iterate over the hidden states [T, D]: the embeddings, then the output of every layer."""


class LeftStream(nn.Module):
    """Embedder of the left (text) stream of a two-stream encoder."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, inputs: Inputs) -> Assembled:
        """Embed the text."""
        pair: Pair = self.embed(inputs)
        return _assembled(pair.left)


class TwoStreamOverText(TwoStream):
    """Two-stream encoder whose text layers run as one stack with knowledge modules added.

    Args:
        encoder: source of the embedder, steps and pooler, all shared.
        text: the text layers before the streams interact, with the added modules; from
            :func:`layer_stack` or :func:`state_stack`.
    """

    def __init__(self, encoder: TwoStream, text: SingleStream) -> None:
        steps = cast("Iterator[tuple[str, SelfStep]]", encoder.steps.items())
        super().__init__(encoder.embed, steps, encoder.pooler, dim=encoder.dim)
        self.text = text

    def apart(self, inputs: Inputs) -> Pair:
        """Both streams before they interact; the text stream includes the added modules."""
        left, right = self.embed(inputs)
        if left.layout.total:
            left = left._replace(x=self.text.run(inputs, _assembled(left), left.attention))
        for step in _self_steps(self):
            right = _attended(step.right, right)
        return Pair(left, right)

    def hidden_states(self, inputs: Inputs) -> Iterator[Pair]:
        """Iterate over both streams at every depth, plus one where the added modules change the last text states."""
        pair: Pair = self.embed(inputs)
        depths = (pair.left._replace(x=stream.x) for stream in self.text.hidden_states(inputs))
        next(depths)
        yield pair
        apart = _self_steps(self)
        for step in apart:
            left = pair.left if step.left is None else next(depths)
            pair = Pair(left, _attended(step.right, pair.right))
            yield pair
        for left in depths:
            pair = pair._replace(left=left)
            yield pair
        for meeting in list(self.steps.values())[len(apart) :]:
            pair = meeting(pair)
            yield pair


def layer_stack(encoder: nn.Module) -> SingleStream | None:
    """The sequential text layers, between which modules can be inserted; None where the encoder has none."""
    if isinstance(encoder, SingleStream):
        return encoder if type(encoder).run is SingleStream.run else None
    if isinstance(encoder, TwoStream) and type(encoder).apart is TwoStream.apart:
        layers = [step.left for step in _self_steps(encoder) if step.left is not None]
        embed = LeftStream(encoder.embed)
        return SingleStream(embed, layers, nn.Identity(), dim=encoder.dim) if layers else None
    return None


def state_stack(encoder: nn.Module) -> SingleStream | None:
    """The text layers whose hidden states can be iterated, for modules beside them; None where the encoder has none."""
    if isinstance(encoder, SingleStream) and isinstance(encoder, Walkable):
        return encoder
    return layer_stack(encoder)


def text_stack(encoder: nn.Module) -> nn.Module:
    """The module that runs the text layers: a single-stream encoder itself, or the text stream of a two-stream one."""
    return encoder.text if isinstance(encoder, TwoStreamOverText) else encoder


def in_layer_stack(
    build: Callable[Concatenate[SingleStream, P], SingleStream],
    host: Callable[[nn.Module], SingleStream | None] = layer_stack,
) -> Callable[Concatenate[nn.Module, P], nn.Module]:
    """Lift a builder of modules around a single stream to any encoder that has a ``host``.

    The resulting builder raises ``UserError`` for an encoder without one.
    """

    @wraps(build)
    def around(encoder: nn.Module, *args: P.args, **sizes: P.kwargs) -> nn.Module:
        stack = host(encoder)
        if stack is None:
            raise UserError(
                f"parts were to be added to a {type(encoder).__name__}, whose layers run in a way of their own; add "
                "them to an encoder whose layers run one after the other"
            )
        built = build(stack, *args, **sizes)
        return TwoStreamOverText(encoder, built) if isinstance(encoder, TwoStream) else built

    return cast("Callable[Concatenate[nn.Module, P], nn.Module]", around)


def dropout_of(stack: SingleStream) -> float:
    """Dropout rate of the layers; the published systems use it in the added modules as well."""
    rates = [part.p for part in stack.layers.modules() if isinstance(part, nn.Dropout)]
    return rates[0] if rates else 0.0


def _assembled(left: Stream) -> Assembled:
    return Assembled(left, {"text": EVERY_ROW})


def _self_steps(encoder: TwoStream) -> list[SelfStep]:
    """The self-attention steps before the streams interact."""
    steps: Any = takewhile(lambda step: isinstance(step, SelfStep), encoder.steps.values())
    return list(steps)


def _attended(layer: nn.Module | None, stream: Stream) -> Stream:
    return stream if layer is None else stream._replace(x=layer(stream.x, stream.attention))
