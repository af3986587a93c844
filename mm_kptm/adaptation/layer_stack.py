"""The layers of an encoder that parts can be put around, whatever the class of the encoder.

Two capabilities are asked of an encoder. Its layers *run one after the other*, each called with all rows and how they
attend: then parts may stand between them (:func:`layer_stack`). Or its states *can be walked* from depth to depth:
then parts may stand beside it (:func:`state_stack`). The text layers of a two-stream encoder, before the streams
meet, have both.

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
    """A single stream that runs its layers in a way of its own and shows its states at every depth."""

    def states(self, inputs: Inputs, assembled: Assembled) -> Iterator[Tensor]:
        """The rows [T, D] embedded, then behind every layer."""


class LeftStream(nn.Module):
    """The embedder of a two-stream encoder, for its left stream alone."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, inputs: Inputs) -> Assembled:
        """The embedded text."""
        pair: Pair = self.embed(inputs)
        return _assembled(pair.left)


class TwoStreamOverText(TwoStream):
    """A two-stream encoder whose text layers run as a stack of layers with parts around them.

    Args:
        encoder: gives its embedder, steps and pooler, all shared.
        text: the layers of its steps over the text before the streams meet, with the parts; from
            :func:`layer_stack` or :func:`state_stack`.
    """

    def __init__(self, encoder: TwoStream, text: SingleStream) -> None:
        steps = cast("Iterator[tuple[str, SelfStep]]", encoder.steps.items())
        super().__init__(encoder.embed, steps, encoder.pooler, dim=encoder.dim)
        self.text = text

    def apart(self, inputs: Inputs) -> Pair:
        """The streams as far as each comes by itself; the text has what the parts add."""
        left, right = self.embed(inputs)
        if left.layout.total:
            left = left._replace(x=self.text.run(inputs, _assembled(left), left.attention))
        for step in _self_steps(self):
            right = _attended(step.right, right)
        return Pair(left, right)

    def hidden_states(self, inputs: Inputs) -> Iterator[Pair]:
        """The pair at every depth, and once more where the parts change the text behind its last layer."""
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
    """The layers over the text that run one after the other, for parts to stand between; None where none do."""
    if isinstance(encoder, SingleStream):
        return encoder if type(encoder).run is SingleStream.run else None
    if isinstance(encoder, TwoStream) and type(encoder).apart is TwoStream.apart:
        layers = [step.left for step in _self_steps(encoder) if step.left is not None]
        embed = LeftStream(encoder.embed)
        return SingleStream(embed, layers, nn.Identity(), dim=encoder.dim) if layers else None
    return None


def state_stack(encoder: nn.Module) -> SingleStream | None:
    """The layers over the text whose states can be walked, so that parts can stand beside them; None where none can."""
    if isinstance(encoder, SingleStream) and isinstance(encoder, Walkable):
        return encoder
    return layer_stack(encoder)


def text_stack(encoder: nn.Module) -> nn.Module:
    """What runs the layers over the text of an encoder that may have parts around it: itself, or one stream of two."""
    return encoder.text if isinstance(encoder, TwoStreamOverText) else encoder


def in_layer_stack(
    build: Callable[Concatenate[SingleStream, P], SingleStream],
    host: Callable[[nn.Module], SingleStream | None] = layer_stack,
) -> Callable[Concatenate[nn.Module, P], nn.Module]:
    """A builder of parts around a single stream, made one of parts around any encoder that has a ``host``.

    The builder that is made raises ``UserError`` where an encoder has none.
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
    """The dropout of the layers, which the published systems give to the parts as well."""
    rates = [part.p for part in stack.layers.modules() if isinstance(part, nn.Dropout)]
    return rates[0] if rates else 0.0


def _assembled(left: Stream) -> Assembled:
    return Assembled(left, {"text": EVERY_ROW})


def _self_steps(encoder: TwoStream) -> list[SelfStep]:
    """The steps before the streams meet."""
    steps: Any = takewhile(lambda step: isinstance(step, SelfStep), encoder.steps.values())
    return list(steps)


def _attended(layer: nn.Module | None, stream: Stream) -> Stream:
    return stream if layer is None else stream._replace(x=layer(stream.x, stream.attention))
