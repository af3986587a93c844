"""Compression: small models that learn from large ones."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.compression.image_teacher import ImageTeacher
    from mm_kptm.compression.text_teacher import TextTeacher
else:
    __getattr__ = lazy(__name__, {"image_teacher": ["ImageTeacher"], "text_teacher": ["TextTeacher"]})

__all__ = ["ImageTeacher", "TextTeacher"]
