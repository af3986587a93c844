"""NLVR2 with its published files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from mm_kptm.data.formats.vision.nlvr2 import PairStatement, read_nlvr2
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split
from mm_kptm.datasets.stored_regions import provider_of
from mm_kptm.datasets.vision.sources import about_images, encoding_of, sizes_of, stored
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_lines
from mm_kptm.io.text_lines import read_text
from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.vision.nlvr2 import NLVR2, UNKNOWN, VERDICTS, ImagePairSource


@dataclass(frozen=True, kw_only=True)
class Nlvr2Data(RegionFiles):
    """NLVR2's statements, one file a split, with region features or pictures of yours of both images."""

    name: Literal["nlvr2"]
    max_length: int = 60  #: pieces of a statement that are read, special ones included
    form: Literal["pair", "triplet"] | None = None  #: two readings or one, as the published head has it when null


Statements = Sequence[tuple[PairStatement, str]]  #: each with its language


def nlvr2(data: Nlvr2Data, request: DataRequest) -> PreparedData:
    """Statements about two photographs (Suhr et al. 2019)."""
    statements = by_split(data.files, read_nlvr2)

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        path = folder / f"nlvr2-{split}.csv"
        write_lines(path, (f"{row['id']},{row['answer']}" for row in rows))
        check(split, path)
        return [path]

    def check(split: str, path: Path) -> None:
        check_verdicts(path, statements(split))

    prepared = statements_about_pairs(data, request, lambda path: [(one, "en") for one in read_nlvr2(path)], data.form)
    return replace(prepared, submit=submit, check=check)


def statements_about_pairs(
    data: RegionFiles,
    request: DataRequest,
    read: Callable[[Path], Statements],
    form: Literal["pair", "triplet"] | None,
) -> PreparedData:
    """Prepare statements that are true or false of two photographs."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    statements = by_split(data.files, read)

    def examples(of: Statements) -> ImagePairSource:
        left, right = (stored(store, [getattr(one, side) for one, _ in of]) for side in ("left", "right"))
        verdicts = [UNKNOWN if one.label is None else VERDICTS.index(one.label) for one, _ in of]
        return ImagePairSource(
            about_images(encoding, store, [(one.text, language) for one, language in of], left).texts,
            provider_of(store),
            left,
            right,
            np.array(verdicts, dtype=np.int64),
            tuple(Example(one.id, "statement", language, one.group, one.label or "") for one, language in of),
        )

    def source(split: str) -> ImagePairSource:
        return examples(statements(split))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: NLVR2(system, form=form),
        sizes=sizes_of(encoding, store),
        heads=NLVR2.heads(request.recipe, form),
        fingerprints=data.fingerprints,
        baselines=lambda split: {"chance": 0.5},
        read_file=lambda path: examples(read(path)),
    )


def check_verdicts(path: str | Path, statements: Sequence[PairStatement]) -> None:
    """Reject a file of ``identifier,True`` lines that the released evaluation would score wrongly.

    Raises:
        UserError: a line of another form, or a statement that is missing, foreign or there twice.
    """
    known, seen = {one.id for one in statements}, set[str]()
    for number, line in enumerate(read_text(path, "an identifier and a verdict a line").splitlines(), 1):
        id_, _, verdict = line.partition(",")
        if verdict not in VERDICTS:
            raise UserError(
                f"{path}, line {number} must be an identifier, a comma and True or False, but it is {line!r}"
            )
        if id_ not in known or id_ in seen:
            wrong = "was judged before" if id_ in seen else "is not one of the split"
            raise UserError(f"{path}, line {number}: {id_} {wrong}")
        seen.add(id_)
    if missing := [one.id for one in statements if one.id not in seen]:
        raise UserError(f"{path} has no verdict on {len(missing)} statements, the first of them {missing[0]}")


NLVR2_SUPPLY = TaskDataset(NLVR2, Nlvr2Data, nlvr2, read_nlvr2)
