"""Encoder protocols.

Shapes: T rows of a batch, B texts, N images, D dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


class Encoder(Protocol):
    """Encoder: a ``torch.nn.Module`` (which a protocol cannot express) from inputs to final states."""

    @property
    def dim(self) -> int:
        """Width of the states of its first stream, D."""

    def __call__(self, inputs: Inputs, output_rows: OutputRows) -> Encoded:
        """Encode; returns the states of the streams in ``output_rows``."""


class HiddenState(Protocol):
    """State of an encoder between two layers; most have more, such as a second stream or the layout of the rows."""

    @property
    def x(self) -> Tensor:
        """The rows of its first stream, [T, D]."""


@runtime_checkable
class LayeredEncoder(Encoder, Protocol):
    """Encoder that yields its states at every depth."""

    def hidden_states(self, inputs: Inputs) -> Iterator[HiddenState]:
        """The state of all rows at every depth: as embedded, then after each layer (or step of two streams).

        A generator: a layer runs when its output is requested, so that a reader of depth 8 stops there. The last state
        is the input of the heads; at depth 0, :attr:`~mm_kptm.batch.Tokens.vectors` replace the word embeddings.
        """


@dataclass(frozen=True)
class TextLimits:
    """What an encoder can read of a text."""

    max_length: int  #: tokens, special ones included
    vocab_size: int
    languages: tuple[str, ...] = ()  #: codes in the order of its language ids, where it embeds them


@runtime_checkable
class DualEncoder(Encoder, Protocol):
    """Encoder of texts and images into one space, in which they are compared by their cosine."""

    @property
    def text_limits(self) -> TextLimits:
        """What its text tower can read."""

    def prepare_images(self, images: Sequence[Image]) -> Tensor:
        """Pictures of any size and mode as the pixels that the image tower reads, [N, 3, height, width]."""

    def embed_images(self, pixels: Tensor) -> Tensor:
        """The vectors of prepared pixels, not normalised, [N, D]."""

    def embed_text(self, inputs: Inputs) -> Tensor:
        """The vectors of the texts of the inputs, not normalised, [B, D]."""


def layer_at(encoder: object, share: float, name: str) -> int:
    """The depth at a share of the layers of an encoder, 0 being the embeddings.

    Args:
        encoder: has its layers in ``layers``.
        share: of the layers, from 0 to 1.
        name: what reads that depth, for the message.

    Raises:
        UserError: the encoder does not say how many layers it has.
    """
    layers = getattr(encoder, "layers", None)
    if not isinstance(layers, Sized):
        raise UserError(
            f"{name} reads the states at {share:.0%} of the layers, but {type(encoder).__name__} does not say how many "
            f"it has; set objective_arguments.{name}.layer"
        )
    return round(share * len(layers))
