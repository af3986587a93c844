"""Drawings and the names that a run finds for them, for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mm_kptm.io.records import read_lines
from mm_kptm.report import GalleryExample, picture, write_gallery
from mm_kptm.report.runs import EXAMPLES
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import split_side
from mm_kptm.tasks.vision.ranking import TO_TEXT

COUNT, LARGER = 12, 3


def write_drawings(run: Path, data: AtlasData, split: str) -> None:
    """Write examples of a split: every drawing with the name that was found for it in the language asked."""
    atlas, side = data.atlas, split_side(data, split)
    place, sheet = atlas.place(side.style), atlas.pixels(side.style)
    lines = [line for line in read_lines(run / "predictions" / f"test-{split}.jsonl") if line.text("type") == TO_TEXT]
    found = []
    for number in np.linspace(0, len(lines) - 1, COUNT).astype(int) if lines else ():
        line = lines[number]
        language, code = line.text("language"), line.text("group").partition("/")[2]
        names = {one.code: atlas.names[language][index] for index, one in enumerate(atlas.concepts)}
        drawing = sheet[place[code]].repeat(LARGER, axis=0).repeat(LARGER, axis=1)
        found.append(
            GalleryExample(
                id=line.text("id"),
                question=f"its name in {language}?",
                answer=names[line.text("answer").rpartition("-")[0]],
                target=names[line.text("target").rpartition("-")[0]],
                correct=line.share("correct"),
                image=picture(drawing),
                width=drawing.shape[1],
                height=drawing.shape[0],
                language=language,
                type=split,
            )
        )
    write_gallery(run / EXAMPLES / f"test-{split}.json", found)
