"""Reports: statistics, terminal tables, and one self-contained HTML page for a run or a comparison."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.report.comparison import Claim, Comparison, Row, Table, as_json, read_comparison, write_comparison
    from mm_kptm.report.gallery import Box, Fact, GalleryExample, Token, picture, read_gallery, write_gallery
    from mm_kptm.report.page import write_page
    from mm_kptm.report.runs import Run, read_run
    from mm_kptm.report.statistics import Interval, Spread, bootstrap, difference, holm, over_seeds, permutation
    from mm_kptm.report.tables import comparison_text
    from mm_kptm.report.writing import write
else:
    __getattr__ = lazy(
        __name__,
        {
            "comparison": ["Claim", "Comparison", "Row", "Table", "as_json", "read_comparison", "write_comparison"],
            "gallery": ["Box", "Fact", "GalleryExample", "Token", "picture", "read_gallery", "write_gallery"],
            "page": ["write_page"],
            "runs": ["Run", "read_run"],
            "statistics": ["Interval", "Spread", "bootstrap", "difference", "holm", "over_seeds", "permutation"],
            "tables": ["comparison_text"],
            "writing": ["write"],
        },
    )

__all__ = [
    "Box",
    "Claim",
    "Comparison",
    "Fact",
    "GalleryExample",
    "Interval",
    "Row",
    "Run",
    "Spread",
    "Table",
    "Token",
    "as_json",
    "bootstrap",
    "comparison_text",
    "difference",
    "holm",
    "over_seeds",
    "permutation",
    "picture",
    "read_comparison",
    "read_gallery",
    "read_run",
    "write",
    "write_comparison",
    "write_gallery",
    "write_page",
]
