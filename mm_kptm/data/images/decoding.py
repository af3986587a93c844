"""Picture files as arrays of red, green and blue, whatever the file holds; broken and hostile ones in a sentence."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mm_kptm.errors import UserError

MOST_PIXELS = 100_000_000  #: of an image; a file that claims more is taken for a decompression bomb
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
#: Decoders that start a program of the machine (Ghostscript), or read what is no image of pixels.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "EMF"})


def read_picture(path: Path, *, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Decode an image file to RGB, [height, width, 3], values 0 to 255.

    The EXIF rotation is applied; of an animation the first frame is used; 16 bits become 8; CMYK, grey and palettes are
    converted to RGB; transparency is composed on white.

    Args:
        path: the file.
        most_pixels: the largest image that is decoded; the size is looked at before anything is.

    Raises:
        UserError: no such file, empty, no image, cut short, of no size, or too large.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, but one picture was asked for")
    if not path.is_file():
        raise UserError(f"picture {path} is not there")
    if path.stat().st_size == 0:
        raise UserError(f"picture {path} is an empty file")
    return _decode(path, f"picture {path}", most_pixels)


def decode_picture(content: bytes, name: str, *, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Decode the content of an image file as :func:`read_picture`, [height, width, 3].

    Args:
        content: of the file.
        name: what errors call it, such as ``a.png in shard-0001.tar``.
        most_pixels: the largest image that is decoded.

    Raises:
        UserError: empty, no image, cut short, of no size, or too large.
    """
    if not content:
        raise UserError(f"picture {name} is an empty file")
    return _decode(BytesIO(content), f"picture {name}", most_pixels)


def _decode(source: Path | BytesIO, called: str, most_pixels: int) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow: the size is checked here
            with Image.open(source) as image:
                width, height = image.size
                if image.format in _REFUSED_FORMATS:
                    raise UserError(f"{called} is {image.format}, which is not decoded; save it as PNG or JPEG")
                if not width or not height:
                    raise UserError(f"{called} is {width} pixels wide and {height} high")
                if width * height > most_pixels:
                    claimed = f"{width} x {height} pixels"
                    raise UserError(f"{called} claims {claimed}, more than the {most_pixels:,} that are decoded")
                image.load()
                return _rgb(image)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{called.removeprefix('picture ')} is no picture of a known kind") from None
    except Image.DecompressionBombError:
        raise UserError(f"{called} claims more pixels than the {most_pixels:,} that are decoded") from None
    except Exception as error:  # a broken file makes a decoder fail in any way
        raise UserError(f"{called} cannot be decoded: {str(error) or type(error).__name__}") from None


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    turned = ImageOps.exif_transpose(image)
    if turned.mode in _DEEP_MODES or turned.mode == "F":
        return _grey(np.asarray(turned), deep=turned.mode != "F")
    if turned.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in turned.info:
        clear = turned.convert("RGBA")
        white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        turned = Image.alpha_composite(white, clear)
    return np.array(turned.convert("RGB"))  # a copy, which may be written to


def _grey(values: NDArray[np.generic], *, deep: bool) -> NDArray[np.uint8]:
    """One channel of 16 bits, or of any numbers, as three of 8 bits."""
    numbers = np.nan_to_num(values.astype(np.float64))
    if deep and numbers.min(initial=0) >= 0 and numbers.max(initial=0) <= 65535:
        numbers = numbers / 257  # 65535 becomes 255
    elif (top := numbers.max(initial=0)) > 0:
        numbers = numbers * (255 / top)
    grey = numbers.clip(0, 255).round().astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an image after its EXIF rotation, from its header alone.

    Raises:
        UserError: it is not there or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise UserError(f"picture {path} is not there") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is no picture of a known kind") from None
    except Image.DecompressionBombError:
        raise UserError(f"picture {path} claims more pixels than the {MOST_PIXELS:,} that are decoded") from None
    except Exception as error:  # a broken file makes a decoder fail in any way
        raise UserError(f"picture {path} cannot be read: {error}") from None
    return (height, width) if turned else (width, height)
