"""What goes into a model, what is wanted of it, and what comes out.

Shapes: B examples, T token rows, R region rows, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mm_kptm.batch.rows import Movable, SequenceLayout
from mm_kptm.batch.streams import Candidates, Entities, Images, Regions, Tokens
from mm_kptm.errors import UserError

Rows = Tensor | slice
EVERY_ROW = slice(None)
NO_ROWS = slice(0, 0)


@dataclass(frozen=True, eq=False)
class Inputs(Movable):
    """The streams of a batch; a model takes those it reads and refuses to run without them."""

    text: Tokens | None = None
    regions: Regions | None = None
    entities: Entities | None = None
    candidates: Mapping[str, Candidates] | None = None  #: by knowledge base
    images: Images | None = None
    target: Tokens | None = None  #: what is written while the other streams are read
    image_of: Tensor | None = None  #: which image each text is about, [B]; None: text b is about image b

    def __len__(self) -> int:
        """Number of examples."""
        for stream in (self.text, self.regions):
            if stream is not None:
                return len(stream.layout)
        return 0 if self.images is None else len(self.images.pixels)

    def repeat_shared(self) -> tuple[SequenceLayout, Rows]:
        """With every example the regions of its image: their layout, and the region rows in that order.

        Raises:
            UserError: there are no regions, an image that does not exist is asked about, or texts and images differ
                in number and nothing says which belong together.
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
        asked: list[int] = self.image_of.tolist()
        if len(asked) != len(self.text.layout):
            raise UserError(f"image_of names an image for {len(asked)} texts, but there are {len(self.text.layout)}")
        for text, image in enumerate(asked):
            if not 0 <= image < len(images):
                raise UserError(f"text {text} is about image {image}, but the images are 0 to {len(images) - 1}")
        return images.select(self.image_of)


@dataclass(frozen=True, eq=False)
class OutputRows(Movable):
    """What will be read off the last layer, which then finishes only those rows.

    Rows are numbers into the token rows [T] or region rows of the batch, :data:`EVERY_ROW` or :data:`NO_ROWS`.
    """

    tokens: Rows = field(default_factory=lambda: EVERY_ROW)
    regions: Rows = field(default_factory=lambda: EVERY_ROW)
    pooled: bool = True


ALL_ROWS = OutputRows()
POOLED_ONLY = OutputRows(tokens=NO_ROWS, regions=NO_ROWS)


@dataclass(frozen=True, eq=False)
class Encoded(Movable):
    """The final states that were wanted; what was not wanted has no rows."""

    tokens: Tensor  #: [T or as many as wanted, D]
    regions: Tensor  #: with every text its own image: [sum over texts of the regions of its image, D]
    pooled: Tensor  #: one vector per sequence, [B, D]
