"""Readers and writers of published region feature files, one module per family."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.features.formats.format import Format, format_named, format_of, formats
else:
    __getattr__ = lazy(
        __name__,
        {
            "format": ["Format", "format_named", "format_of", "formats"],
        },
    )

__all__ = ["Format", "format_named", "format_of", "formats"]
