"""Input and output: atomic writing, and readers whose errors name the file and line."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.io.records import Record, expected, once, one_of, read_json, read_lines, read_table
    from mm_kptm.io.text_lines import read_text
else:
    __getattr__ = lazy(
        __name__,
        {
            "records": ["Record", "expected", "once", "one_of", "read_json", "read_lines", "read_table"],
            "text_lines": ["read_text"],
        },
    )

__all__ = ["Record", "expected", "once", "one_of", "read_json", "read_lines", "read_table", "read_text"]
