"""Scenes: two to five coloured handwritten numbers on a noisy canvas, with known boxes.

The canvas is a grid of 5 x 4 places of 20 x 12 pixels. Each number takes a column of its own and any row, and
moves freely inside its place, so boxes never overlap and "left of" is never in doubt. No two numbers of a scene
are equal. One of them, the *focus*, is the only one of its colour and has a successor and a Roman numeral:
questions can always be asked about it.

Shapes: S scenes, R regions (numbers) of all scenes end to end.
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
#: Red, green and blue of full ink, 0-224: with the noise on top a channel stays below 256.
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
    """One number of a scene."""

    value: int
    colour: str
    box: tuple[int, int, int, int]  #: x1 y1 x2 y2 in pixels, the last two excluded


@dataclass(frozen=True, eq=False)
class Scenes:
    """Many scenes as arrays; pixels are made when they are asked for."""

    block: str
    noise: int  #: names the noise of this set
    offsets: Integers  #: where each scene's regions start, [S + 1]
    values: Integers  #: [R]
    colours: Integers  #: places in ``COLOURS``, [R]
    boxes: Integers  #: x1 y1 x2 y2 in pixels, [R, 4]
    written: Integers  #: scan of the tens (-1 for one digit) and of the units, [R, 2]
    focus: Integers  #: row of the focus inside its scene, [S]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, scene: int) -> slice:
        """The rows of one scene's regions."""
        return slice(int(self.offsets[scene]), int(self.offsets[scene + 1]))

    def things(self, scene: int) -> tuple[Thing, ...]:
        """The numbers of one scene, in the order of its regions, which tells nothing."""
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
        """What each box shows, 8 rows of 16 columns, [R, 3, 8, 16].

        A single digit stands in the right half, the left half is black: units always stand where units stand, which a
        linear projection can learn.
        """
        scene = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        return np.concatenate(
            [self._crop(rows, scene[rows]) for rows in _chunks(len(self.values))] or [np.zeros((0, *CROP), np.uint8)]
        )

    def features(self, scenes: Sequence[int]) -> NDArray[np.float32]:
        """The crops of the named scenes as numbers between 0 and 1, end to end, [R, 384]."""
        taken = np.concatenate([self.crops[self.rows(scene)] for scene in scenes])
        return taken.reshape(len(taken), FEATURES).astype(np.float32) / np.float32(255)

    def fractions(self, scenes: Sequence[int]) -> NDArray[np.float32]:
        """The boxes of the named scenes as x1 y1 x2 y2 fractions of the canvas, [R, 4]."""
        taken = np.concatenate([self.boxes[self.rows(scene)] for scene in scenes])
        return (taken / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])).astype(np.float32)

    def image(self, scene: int) -> NDArray[np.uint8]:
        """The whole canvas of one scene, [48, 100, 3]; its boxes show exactly ``crops``."""
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        canvas = _speckle(self.noise, np.full_like(y, scene), y, x)
        for row in range(*self.rows(scene).indices(len(self.values))):
            x1, y1, x2, y2 = self.boxes[row]
            canvas[y1:y2, x1:x2] += self._ink(slice(row, row + 1))[0, :, 2 * DIGIT - (x2 - x1) :]
        return canvas.astype(np.uint8)

    def _ink(self, rows: slice) -> Integers:
        """The coloured strokes without paper, [rows, 8, 16, 3]."""
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
        pixels *= (x >= boxes[:, 0, None, None])[..., None]  # outside the box nothing is seen
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
        block: the side whose scans are used: ``train``, ``dev`` or ``test``.
        count: scenes.
        draw: the random numbers.
        numbers: the numbers are 0 up to this one (excluded), 10 to 100.
        sizes: how many numbers a scene may hold, each between 2 and 5.
        allowed: which colour a number may have, [numbers, 8]; all when omitted.
        focus: which colour-number cells the focus may be; those allowed when omitted.

    Raises:
        UserError: for numbers or sizes outside these bounds.
    """
    if not 10 <= numbers <= 100:
        raise UserError(
            f"a world of {numbers} numbers was asked for, but the numbers are 0-9 at least and 0-99 at most"
        )
    if not sizes or not set(sizes) <= set(SIZES):
        raise UserError(f"scenes of {list(sizes)} numbers were asked for, but a scene holds 2, 3, 4 or 5")
    allowed = np.ones((numbers, len(COLOURS)), dtype=bool) if allowed is None else allowed
    focus = (allowed if focus is None else focus).copy()
    focus[[0, numbers - 1]] = False  # no Roman numeral, no successor
    cells = np.argwhere(focus)
    chosen = cells[draw.below(len(cells), count)]
    most = max(sizes)
    values = draw.orders(count, numbers)[:, :most]
    clash = values[:, 1:] == chosen[:, :1]
    values[:, 1:] = np.where(clash, values[:, :1], values[:, 1:])  # the first, unused, takes the place of a double
    values[:, 0] = chosen[:, 0]
    colours = _colours(values, chosen[:, 1], allowed, draw)
    size = np.asarray(sizes, dtype=np.int64)[draw.below(len(sizes), count)]
    place = draw.below(size, count)  # the focus moves to a random row, or the order would give it away
    index = np.arange(count)
    for array in (values, colours):
        array[index, 0], array[index, place] = array[index, place], array[index, 0].copy()
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
        focus=place,
    )


def _colours(values: Integers, chosen: Integers, allowed: NDArray[np.bool_], draw: RandomStream) -> Integers:
    """A colour for every number, uniform over what is allowed; none but the focus has the focus's colour."""
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
    """The paper's noise at a pixel, 0-31 in each channel, from a hash of its place, [..., 3]."""
    word = np.asarray(noise + (scene * HEIGHT + y) * WIDTH + x, dtype=np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finaliser of SplitMix64
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    word ^= word >> np.uint64(31)
    return np.stack([(word >> np.uint64(8 * k)) % np.uint64(NOISE) for k in range(3)], axis=-1).astype(np.int64)


def _chunks(total: int, step: int = 4096) -> list[slice]:
    return [slice(first, min(first + step, total)) for first in range(0, total, step)]
