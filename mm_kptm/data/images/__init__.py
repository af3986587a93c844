"""Decoding of image files that may be corrupt or hostile."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.data.images.decoding import decode_picture, picture_size, read_picture
    from mm_kptm.data.images.folders import pictures_in
else:
    __getattr__ = lazy(
        __name__,
        {
            "decoding": ["decode_picture", "picture_size", "read_picture"],
            "folders": ["pictures_in"],
        },
    )

__all__ = ["decode_picture", "picture_size", "pictures_in", "read_picture"]
