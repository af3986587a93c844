"""Results of a demonstration: a comparison and the page that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mm_kptm.io.records import Json
from mm_kptm.report.comparison import Comparison, as_json
from mm_kptm.report.tables import comparison_text


@dataclass(frozen=True)
class Demonstration:
    """Results and report of a demonstration."""

    comparison: Comparison
    report: Path

    def text(self) -> str:
        """Tables and claims as terminal text."""
        return comparison_text(self.comparison)

    def plain(self) -> dict[str, Json]:
        """The results as JSON values, as in ``arms.json``, with the path of the report."""
        values = as_json(self.comparison)
        if not isinstance(values, dict):
            raise TypeError("a comparison is written as an object")
        return {**values, "report": str(self.report)}
