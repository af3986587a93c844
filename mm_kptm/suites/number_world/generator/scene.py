"""Scenes: two to five coloured handwritten numbers on a noisy canvas, with gold boxes.

The canvas is a grid of 5 x 4 slots of 20 x 12 pixels. Each number has its own column and a random row and position
within the slot, so that boxes never overlap and "left of" is unambiguous. The numbers of a scene are distinct. One of
them, the *focus*, has a unique colour, a successor and a Roman numeral: all questions are possible for it.

Shapes: S scenes, R regions (numbers) of all scenes, concatenated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.random_streams import Integers, RandomStream
from mm_kptm.suites.number_world.generator.digits import scans

COLOURS = ("red", "green", "blue", "yellow", "white", "purple", "orange", "pink")
#: RGB of full ink, 0-224, so that channels with noise stay below 256.
RGB = np.array(
    [[224, 24, 24], [24, 192, 40], [32, 64, 224], [224, 216, 24], [224, 224, 224], [136, 24, 200], [224, 112, 8],
     [224, 120, 168]],
    dtype=np.int64,
)  # fmt: skip
SIZES = (2, 3, 4, 5)
COLUMNS, ROWS, SLOT_WIDTH, SLOT_HEIGHT = 5, 4, 20, 12
WIDTH, HEIGHT = COLUMNS * SLOT_WIDTH, ROWS * SLOT_HEIGHT
DIGIT = 8  # pixels on a side
CROP = (3, DIGIT, 2 * DIGIT)  #: channels, rows and columns of a region's crop
FEATURES = CROP[0] * CROP[1] * CROP[2]
NOISE = 32  # grey levels of the paper


@dataclass(frozen=True)
class Thing:
    """Number in a scene: value, colour and box."""

    value: int
    colour: str
    box: tuple[int, int, int, int]  #: x1 y1 x2 y2 in pixels, end-exclusive


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes as arrays; pixels are rendered on demand."""

    block: str
    noise: int  #: seed of the noise
    offsets: Integers  #: first region of each scene, [S + 1]
    values: Integers  #: [R]
    colours: Integers  #: indices into ``COLOURS``, [R]
    boxes: Integers  #: x1 y1 x2 y2 in pixels, [R, 4]
    written: Integers  #: scan index of the tens (-1 for one digit) and of the units, [R, 2]
    focus: Integers  #: index of the focus in its scene, [S]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, scene: int) -> slice:
        """Row range of the regions of a scene."""
        return slice(int(self.offsets[scene]), int(self.offsets[scene + 1]))

    def things(self, scene: int) -> tuple[Thing, ...]:
        """Numbers of a scene in the order of its regions, which is random."""
        return self._things[scene]

    @cached_property
    def _things(self) -> tuple[tuple[Thing, ...], ...]:
        flat = [
            Thing(value, COLOURS[colour], (box[0], box[1], box[2], box[3]))
            for value, colour, box in zip(self.values.tolist(), self.colours.tolist(), self.boxes.tolist(), strict=True)
        ]
        return tuple(tuple(flat[self.rows(scene)]) for scene in range(len(self)))

    @cached_property
    def crops(self) -> NDArray[np.uint8]:
        """Crop of each box, uint8 [R, 3, 8, 16].

        A single digit is in the right half and the left half is black: the position of the units is constant, so that a
        linear projection can read them.
        """
        scene = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        return np.concatenate(
            [self._crop(rows, scene[rows]) for rows in _chunks(len(self.values))] or [np.zeros((0, *CROP), np.uint8)]
        )

    def features(self, scenes: Sequence[int]) -> NDArray[np.float32]:
        """Region features of some scenes: crops scaled to 0..1, concatenated, [R, 384]."""
        rows = np.concatenate([self.crops[self.rows(scene)] for scene in scenes])
        return rows.reshape(len(rows), FEATURES).astype(np.float32) / np.float32(255)

    def fractions(self, scenes: Sequence[int]) -> NDArray[np.float32]:
        """Boxes of some scenes as x1 y1 x2 y2 fractions of the canvas, concatenated, [R, 4]."""
        rows = np.concatenate([self.boxes[self.rows(scene)] for scene in scenes])
        return (rows / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])).astype(np.float32)

    def image(self, scene: int) -> NDArray[np.uint8]:
        """Render the canvas of a scene, uint8 [48, 100, 3]; its boxes contain exactly ``crops``."""
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        canvas = _speckle(self.noise, np.full_like(y, scene), y, x)
        for row in range(*self.rows(scene).indices(len(self.values))):
            x1, y1, x2, y2 = self.boxes[row]
            canvas[y1:y2, x1:x2] += self._ink(slice(row, row + 1))[0, :, 2 * DIGIT - (x2 - x1) :]
        return canvas.astype(np.uint8)

    def _ink(self, rows: slice) -> Integers:
        """Coloured strokes without background, [rows, 8, 16, 3]."""
        images = scans(self.block).images.astype(np.int64)
        written = self.written[rows]
        tens = np.where((written[:, 0] >= 0)[:, None, None], images[written[:, 0]], 0)
        grey = np.concatenate([tens, images[written[:, 1]]], axis=2)  # [rows, 8, 16]
        return grey[..., None] * RGB[self.colours[rows]][:, None, None] // 16

    def _crop(self, rows: slice, scene: Integers) -> NDArray[np.uint8]:
        boxes = self.boxes[rows]
        y = boxes[:, 1, None, None] + np.arange(DIGIT)[:, None]
        x = boxes[:, 2, None, None] - 2 * DIGIT + np.arange(2 * DIGIT)
        y, x = np.broadcast_arrays(y, x)
        pixels = _speckle(self.noise, np.broadcast_to(scene[:, None, None], y.shape), y, x) + self._ink(rows)
        pixels *= (x >= boxes[:, 0, None, None])[..., None]  # black outside of the box
        return pixels.transpose(0, 3, 1, 2).astype(np.uint8)


def compose(
    block: str,
    count: int,
    draw: RandomStream,
    *,
    numbers: int = 100,
    sizes: Sequence[int] = SIZES,
    allowed: NDArray[np.bool_] | None = None,
    focus: NDArray[np.bool_] | None = None,
) -> Scenes:
    """Draw ``count`` scenes written with the scans of ``block``.

    Args:
        block: side of the scans: ``train``, ``dev`` or ``test``.
        count: number of scenes.
        draw: random stream.
        numbers: the numbers are 0 up to this one (excluded), 10 to 100.
        sizes: possible numbers per scene, each between 2 and 5.
        allowed: colours allowed for each number, [numbers, 8]; default: all.
        focus: colour-number cells allowed for the focus; default: ``allowed``.

    Raises:
        UserError: numbers or sizes outside of these bounds.
    """
    if not 10 <= numbers <= 100:
        raise UserError(
            f"a world of {numbers} numbers was asked for, but the numbers are 0-9 at least and 0-99 at most"
        )
    if not sizes or not set(sizes) <= set(SIZES):
        raise UserError(f"scenes of {list(sizes)} numbers were asked for, but a scene holds 2, 3, 4 or 5")
    allowed = np.ones((numbers, len(COLOURS)), dtype=bool) if allowed is None else allowed
    focus = (allowed if focus is None else focus).copy()
    focus[[0, numbers - 1]] = False  # zero has no Roman numeral, the last number no successor
    cells = np.argwhere(focus)
    chosen = cells[draw.below(len(cells), count)]
    most = max(sizes)
    values = draw.orders(count, numbers)[:, :most]
    clash = values[:, 1:] == chosen[:, :1]
    values[:, 1:] = np.where(clash, values[:, :1], values[:, 1:])  # the unused first value replaces a duplicate
    values[:, 0] = chosen[:, 0]
    colours = _colours(values, chosen[:, 1], allowed, draw)
    size = np.asarray(sizes, dtype=np.int64)[draw.below(len(sizes), count)]
    position = draw.below(size, count)  # move the focus to a random row, so that the order does not reveal it
    index = np.arange(count)
    for array in (values, colours):
        array[index, 0], array[index, position] = array[index, position], array[index, 0].copy()
    real = np.arange(most) < size[:, None]
    value, colour = values[real], colours[real]
    columns = draw.orders(count, COLUMNS)[:, :most][real]
    return Scenes(
        block=block,
        noise=draw.one(2**31),
        offsets=np.concatenate([[0], np.cumsum(size)]),
        values=value,
        colours=colour,
        boxes=_boxes(value, columns, draw),
        written=_written(block, value, draw),
        focus=position,
    )


def _colours(values: Integers, chosen: Integers, allowed: NDArray[np.bool_], draw: RandomStream) -> Integers:
    """Draw a colour for every number, uniform over the allowed ones; the colour of the focus is unique."""
    free = allowed[values] & (np.arange(len(COLOURS)) != chosen[:, None, None])  # [S, M, 8]
    rank = draw.below(free.sum(axis=2), *values.shape)
    colours = (free.cumsum(axis=2) > rank[..., None]).argmax(axis=2).astype(np.int64)
    colours[:, 0] = chosen
    return colours


def _boxes(values: Integers, columns: Integers, draw: RandomStream) -> Integers:
    width = np.where(values >= 10, 2 * DIGIT, DIGIT)
    x = columns * SLOT_WIDTH + draw.below(SLOT_WIDTH - width, len(values))
    y = draw.below(ROWS, len(values)) * SLOT_HEIGHT + draw.below(SLOT_HEIGHT - DIGIT, len(values))
    return np.stack([x, y, x + width, y + DIGIT], axis=1)


def _written(block: str, values: Integers, draw: RandomStream) -> Integers:
    table, counts = scans(block).table, scans(block).counts
    digits = np.stack([values // 10, values % 10], axis=1)
    written = table[digits, draw.below(counts[digits], *digits.shape)]
    return np.where((values < 10)[:, None] & np.array([True, False]), -1, written)


def _speckle(noise: int, scene: Integers, y: Integers, x: Integers) -> Integers:
    """Background noise of a pixel, 0-31 per channel, from a hash of its coordinates, [..., 3]."""
    word = np.asarray(noise + (scene * HEIGHT + y) * WIDTH + x, dtype=np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finaliser of SplitMix64
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    word ^= word >> np.uint64(31)
    return np.stack([(word >> np.uint64(8 * k)) % np.uint64(NOISE) for k in range(3)], axis=-1).astype(np.int64)


def _chunks(total: int, step: int = 4096) -> list[slice]:
    return [slice(first, min(first + step, total)) for first in range(0, total, step)]
