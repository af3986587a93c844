"""Drawings of a style as pixels: SVG files of a package, drawn at one size on white."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mm_kptm.errors import UserError
from mm_kptm.suites.atlas.data.archives import Opened
from mm_kptm.suites.atlas.data.concepts import without_presentation
from mm_kptm.suites.atlas.data.packages import Style

SIZE = 48  #: side of a drawing, in pixels
COLUMNS = 40  #: drawings in a row of a sheet
QUALITY = 70  #: of a sheet's compression, which loses a little
ALIKE = 4.0  #: grey levels of mean difference below which two drawings are the same
_FLIPS = {"hFlip": "translate({0} 0) scale(-1 1)", "vFlip": "translate(0 {1}) scale(1 -1)"}

Pixels = NDArray[np.uint8]  #: [N, SIZE, SIZE, 3]


def vector_drawings(style: Style, opened: Opened, names: Mapping[str, str]) -> dict[str, str]:
    """SVG texts by code, or by country code for flags.

    Args:
        style: whose drawings.
        opened: its package.
        names: of icons by code, for sets that are called by name.
    """
    if style.layout == "iconify":
        return _iconify(opened, style, names)
    found = {}
    for name, content in opened.files.items():
        stem = name.removeprefix(style.prefix).removesuffix(".svg")
        if not name.startswith(style.prefix) or "/" in stem or not name.endswith(".svg"):
            continue
        if style.layout == "codes":
            found[without_presentation(stem)] = content.decode("utf-8")
        elif len(stem) == 2:
            found[stem.upper()] = content.decode("utf-8")
    return found


def icon_names(opened: Opened) -> dict[str, str]:
    """Names of icons by code, where the package has them."""
    name = "package/chars.json"
    if name not in opened:
        return {}
    return {without_presentation(code): icon for code, icon in json.loads(opened.files[name]).items()}


def _iconify(opened: Opened, style: Style, names: Mapping[str, str]) -> dict[str, str]:
    read = opened.json(style.prefix)
    icons, aliases = read["icons"], read.get("aliases", {})
    found = {}
    for code, name in names.items():
        flips = []
        while name in aliases and name not in icons:
            flips += [key for key in _FLIPS if aliases[name].get(key)]
            name = aliases[name]["parent"]
        if name not in icons:
            continue
        icon = icons[name]
        width, height = icon.get("width", read.get("width", 16)), icon.get("height", read.get("height", 16))
        body = icon["body"]
        for flip in flips:
            body = f'<g transform="{_FLIPS[flip].format(width, height)}">{body}</g>'
        found[code] = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>'
    return found


def renderer() -> Callable[..., bytes]:
    """resvg's function from an SVG text to a PNG file.

    Raises:
        UserError: it is not installed.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise UserError(
            "vector drawings are drawn by resvg-py, which is not installed; install it with "
            "pip install 'mm-kptm[atlas]'"
        ) from None
    return cast(Callable[..., bytes], svg_to_bytes)


def draw(texts: Iterable[str], *, size: int = SIZE) -> Pixels:
    """Draw SVG texts, each in the middle of a white square, [N, size, size, 3].

    Raises:
        UserError: the renderer is not installed, or a text cannot be drawn.
    """
    svg_to_bytes = renderer()
    drawn = []
    for text in texts:
        try:
            content = svg_to_bytes(svg_string=text, width=2 * size, skip_system_fonts=True)
        except ValueError as error:
            raise UserError(f"a drawing ({text[:60]}...) cannot be drawn: {error}; fetch its package again") from None
        drawn.append(_on_white(Image.open(io.BytesIO(content)), size))
    return np.stack(drawn) if drawn else np.zeros((0, size, size, 3), np.uint8)


def _on_white(image: Image.Image, size: int) -> Pixels:
    image = image.convert("RGBA")
    side = max(image.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.convert("RGB").resize((size, size), Image.Resampling.BOX))


def sheet(pixels: Pixels) -> bytes:
    """Drawings side by side as one WebP picture."""
    count, size = len(pixels), pixels.shape[1]
    rows = -(-count // COLUMNS)
    padded = np.full((rows * COLUMNS, size, size, 3), 255, np.uint8)
    padded[:count] = pixels
    canvas = padded.reshape(rows, COLUMNS, size, size, 3).swapaxes(1, 2).reshape(rows * size, COLUMNS * size, 3)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(canvas)).save(stream, "WEBP", quality=QUALITY, method=6)
    return stream.getvalue()


def read_sheet(content: bytes, count: int, *, size: int = SIZE) -> Pixels:
    """The drawings of a sheet, [count, size, size, 3]."""
    canvas = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    rows = canvas.shape[0] // size
    apart = canvas.reshape(rows, size, COLUMNS, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    return np.ascontiguousarray(apart[:count])


def small(pixels: Pixels, *, side: int = 24) -> NDArray[np.float32]:
    """Drawings in few pixels, each row one, its mean removed, [N, side * side * 3]; for comparison pixel by pixel."""
    count, size = len(pixels), pixels.shape[1]
    step = size // side
    means = pixels.reshape(count, side, step, side, step, 3).mean(axis=(2, 4), dtype=np.float32)
    flat = means.reshape(count, -1)
    return np.asarray(flat - flat.mean(axis=1, keepdims=True))


def alike(
    pixels: Pixels, codes: Sequence[str], *, least: float = ALIKE, mirrored: bool = False
) -> list[tuple[str, str]]:
    """Pairs of codes whose drawings differ by less than ``least`` grey levels on average.

    Args:
        pixels: the drawings, [N, size, size, 3].
        codes: of each.
        least: grey levels from which two drawings differ.
        mirrored: whether a drawing is compared in a mirror, too.
    """
    rows = small(pixels)
    seen = [rows, small(np.ascontiguousarray(pixels[:, :, ::-1]))] if mirrored else [rows]
    found = []
    for index, row in enumerate(rows):
        distances = np.min([np.abs(other[index + 1 :] - row).mean(axis=1) for other in seen], axis=0)
        found += [(codes[index], codes[index + 1 + int(other)]) for other in np.flatnonzero(distances < least)]
    return found
