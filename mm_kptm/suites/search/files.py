"""Files of an indexed folder: which have changed, and what they hold; no file is read that need not be."""

from __future__ import annotations

import hashlib
import io
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mm_kptm.data.images.decoding import decode_picture
from mm_kptm.errors import UserError
from mm_kptm.suites.search.generation import Stamp

THUMBNAIL = 256  #: longest side, in pixels
MOST_BYTES = 2**29  #: of a file that is read
_SECOND = 1_000_000_000
_UNSETTLED = 0  # in place of the times of a file that was written so recently that another write could not be noticed


def stamp_of(path: Path) -> Stamp:
    """Size and times of a file; equal stamps mean an unchanged file.

    File systems round times, some to two seconds: a file that was written just now may be written again and keep its
    times. Its stamp has none, so that the file is read once more next time.

    Raises:
        UserError: the file is gone or may not be looked at.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"picture {path} cannot be read: {os.strerror(error.errno or 0)}") from None
    rounding = 2 * _SECOND if found.st_mtime_ns % _SECOND == 0 else _SECOND // 20
    if time.time_ns() - found.st_mtime_ns <= rounding:
        return found.st_size, _UNSETTLED, _UNSETTLED
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def unchanged(before: Stamp, now: Stamp) -> bool:
    """Whether two stamps of a file show that it was not written in between."""
    return before == now and before[1] != _UNSETTLED


def read_content(path: Path) -> tuple[bytes, bytes]:
    """The bytes of a file and their SHA-256.

    Raises:
        UserError: the file cannot be read, or is larger than :data:`MOST_BYTES`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"picture {path} cannot be read: {os.strerror(error.errno or 0)}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"picture {path} has more than the {MOST_BYTES >> 20} MiB that are read; make it smaller")
    return content, hashlib.sha256(content).digest()


def decoded(content: bytes, path: Path) -> tuple[NDArray[np.uint8], bytes]:
    """A picture as [height, width, 3], and its thumbnail as a JPEG file.

    Raises:
        UserError: the content is no picture that can be decoded.
    """
    picture = decode_picture(content, str(path))
    small = Image.fromarray(picture)
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=82)
    return picture, file.getvalue()
