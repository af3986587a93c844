"""Inputs of a model, the output rows asked of it, and its final states, each keyed by stream name.

The streams of this package are called ``text``, ``regions``, ``images``, ``entities``, ``region_entities`` and
``target``. A wing adds a stream by a subclass of :class:`~mm_kptm.batch.InputStream` and a name of its own; nothing
here has to know it.

Shapes: B examples, N rows of a stream, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor

from mm_kptm.batch.rows import Movable, SequenceLayout, copied, on_host
from mm_kptm.batch.streams import Candidates, Entities, Images, InputStream, Regions, Tokens
from mm_kptm.errors import UserError

StreamT = TypeVar("StreamT", bound=InputStream)
Rows = Tensor | slice
EVERY_ROW = slice(None)
NO_ROWS = slice(0, 0)


def row_numbers(rows: Rows, total: int, device: torch.device) -> Tensor:
    """The row numbers that ``rows`` selects among ``total`` rows, [N]."""
    return copied(torch.arange(total)[rows], device) if isinstance(rows, slice) else rows


_NO_STREAMS: Mapping[str, InputStream] = MappingProxyType({})


@dataclass(frozen=True, eq=False, init=False)
class Inputs(Movable):
    """The streams of a batch by name; a model fails without those that it reads.

    >>> inputs = Inputs(text=Tokens.of([[5, 6], [7]]))
    >>> len(inputs), inputs.regions
    (2, None)

    Args:
        streams: by name; a stream that is None is left out.
        candidates: candidate entities of text spans, by knowledge base.
        image_of: index of the image of each text, [B]; None: text b belongs to image b.
        labels: labels of the examples that objectives predict, by objective, each [B]; -1 where there is none.
        named: further streams by name; they replace streams of the same name in ``streams``.

    Raises:
        UserError: a value is not an input stream, or a stream has no name.
    """

    streams: Mapping[str, InputStream]
    candidates: Mapping[str, Candidates] | None
    image_of: Tensor | None
    labels: Mapping[str, Tensor]

    def __init__(
        self,
        streams: Mapping[str, InputStream | None] = _NO_STREAMS,
        *,
        candidates: Mapping[str, Candidates] | None = None,
        image_of: Tensor | None = None,
        labels: Mapping[str, Tensor] | None = None,
        **named: InputStream | None,
    ) -> None:
        if not isinstance(streams, Mapping):
            raise UserError(
                "streams are given by name, such as Inputs(text=...), but the first argument is of type "
                f"{type(streams).__name__}"
            )
        found = {name: stream for name, stream in {**streams, **named}.items() if stream is not None}
        for name, stream in found.items():
            if not isinstance(stream, InputStream):
                raise UserError(
                    f"inputs are made of streams such as Tokens or Regions, but {name} is a {type(stream).__name__}"
                )
        object.__setattr__(self, "streams", found)
        object.__setattr__(self, "candidates", candidates)
        object.__setattr__(self, "image_of", image_of)
        object.__setattr__(self, "labels", labels or {})

    def __len__(self) -> int:
        """Number of examples: of texts, or without text, of sequences in the first stream that has some."""
        first = [] if self.text is None else [self.text]
        counts = (stream.num_sequences for stream in [*first, *self.streams.values()])
        return next((count for count in counts if count is not None), 0)

    def get(self, name: str, kind: type[StreamT]) -> StreamT | None:
        """The stream of that name, or None.

        Raises:
            UserError: it is of another kind.
        """
        stream = self.streams.get(name)
        if stream is None or isinstance(stream, kind):
            return stream
        raise UserError(f"the stream {name} is read as {kind.__name__}, but it is made of {type(stream).__name__}")

    def required(self, name: str, kind: type[StreamT]) -> StreamT:
        """The stream of that name.

        Raises:
            UserError: there is none, or it is of another kind.
        """
        stream = self.get(name, kind)
        if stream is None:
            raise UserError(f"this model reads {name}, but the inputs have {' and '.join(self.streams) or 'none'}")
        return stream

    def check_texts(self) -> None:
        """Refuse texts without a token, of which no state can be read: their rows would be those of the next text.

        Raises:
            UserError: a sequence of a stream of tokens has no row.
        """
        for name, stream in self.streams.items():
            if isinstance(stream, Tokens) and 0 in stream.layout.lengths:
                raise UserError(
                    f"sequence {stream.layout.lengths.index(0)} of the {len(stream.layout)} of {name} has no token; a "
                    "text has one token at least, such as the special ones that a tokenizer puts around it"
                )

    def with_streams(self, **streams: InputStream | None) -> Inputs:
        """The inputs with these streams replaced; None removes a stream."""
        return Inputs(self.streams, candidates=self.candidates, image_of=self.image_of, labels=self.labels, **streams)

    @property
    def text(self) -> Tokens | None:
        """The tokens of the texts."""
        return self.get("text", Tokens)

    @property
    def regions(self) -> Regions | None:
        """The regions of the images."""
        return self.get("regions", Regions)

    @property
    def images(self) -> Images | None:
        """Whole images."""
        return self.get("images", Images)

    @property
    def entities(self) -> Entities | None:
        """Entities on the token grid of the text."""
        return self.get("entities", Entities)

    @property
    def region_entities(self) -> Entities | None:
        """Entities on the grid of the regions as each text sees them."""
        return self.get("region_entities", Entities)

    @property
    def target(self) -> Tokens | None:
        """The target text of an encoder-decoder model."""
        return self.get("target", Tokens)

    def repeat_shared(self) -> tuple[SequenceLayout, Rows]:
        """Regions expanded to one set per text: their layout, and the region rows to gather, in order.

        Raises:
            UserError: there are no regions, ``image_of`` names an image that does not exist, or texts and images differ
                in number and there is no ``image_of``.
        """
        if self.regions is None:
            raise UserError("regions are read here, but the inputs have none")
        images = self.regions.layout
        if self.text is None:
            return images, EVERY_ROW
        if self.image_of is None:
            if len(self.text.layout) != len(images):
                raise UserError(
                    f"{len(self.text.layout)} texts cannot be joined with the regions of {len(images)} images; "
                    "give image_of, the number of the image that each text is about"
                )
            return images, EVERY_ROW
        numbers: list[int] = on_host(self.image_of).tolist()
        if len(numbers) != len(self.text.layout):
            raise UserError(f"image_of names an image for {len(numbers)} texts, but there are {len(self.text.layout)}")
        for text, image in enumerate(numbers):
            if not 0 <= image < len(images):
                raise UserError(f"text {text} is about image {image}, but the images are 0 to {len(images) - 1}")
        return images.select(self.image_of)


@dataclass(frozen=True, eq=False)
class OutputRows(Movable):
    """Rows of the last layer that are wanted, by stream; only those are computed.

    Rows are indices into the rows of a stream, :data:`EVERY_ROW` or :data:`NO_ROWS`.

    >>> wanted = OutputRows({"text": EVERY_ROW}, pooled=False)
    >>> wanted["text"] is EVERY_ROW, wanted["regions"] is NO_ROWS
    (True, True)
    """

    by_stream: Mapping[str, Rows]
    pooled: bool = True  #: whether pooled vectors are wanted
    other_streams: slice = field(default_factory=lambda: NO_ROWS)  #: rows of streams not named in ``by_stream``

    def __getitem__(self, stream: str) -> Rows:
        """The wanted rows of a stream."""
        return self.by_stream.get(stream, self.other_streams)

    def wants(self, stream: str) -> bool:
        """Whether any row of a stream is wanted."""
        return self[stream] is not NO_ROWS


ALL_ROWS = OutputRows({}, other_streams=EVERY_ROW)
POOLED_ONLY = OutputRows({})


@dataclass(frozen=True, eq=False)
class Encoded(Movable):
    """Final states of the wanted rows, by stream name.

    A stream of which :data:`NO_ROWS` are wanted is left out. Regions are expanded to one set per text: where several
    texts share an image, its regions are repeated for each of them.
    """

    states: Mapping[str, Tensor]  #: each [wanted rows, D of the stream]
    pooled: Tensor  #: one vector per sequence, [B, D]; without rows if not wanted

    def __getitem__(self, stream: str) -> Tensor:
        """The states of a stream.

        Raises:
            UserError: the encoder or the inputs do not have such a stream, or its states were not wanted.
        """
        if stream not in self.states:
            raise UserError(
                f"the states of {stream} are read, but the encoder gave {' and '.join(self.states) or 'none'}; "
                f"ask for them in OutputRows, of an encoder that reads {stream} and with inputs that have it"
            )
        return self.states[stream]

    @property
    def text(self) -> Tensor:
        """The states of the wanted tokens, [T, D]."""
        return self["text"]

    @property
    def regions(self) -> Tensor:
        """The states of the wanted regions, [R, D]."""
        return self["regions"]
