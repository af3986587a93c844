"""Reader of NLVR2's statements about two images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import each_record, once, one_of


@dataclass(frozen=True)
class PairStatement:
    """A statement about a left and a right image (Suhr et al. 2019)."""

    id: str
    left: tuple[str, ...]  #: possible names of the left image in a region store
    right: tuple[str, ...]  #: of the right one
    text: str
    label: str | None  #: True or False, None in the files of the challenge
    group: str  #: statements of the same wording, over whose pairs of images consistency is measured


@collected
def read_nlvr2(path: str | Path) -> Iterator[PairStatement]:
    """A file such as ``dev.json``, one statement a line.

    An identifier is ``split-set-pair-sentence``; the images are ``split-set-pair-img0.png`` and ``-img1.png``.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, an identifier is malformed or twice.
    """
    seen: dict[str, str] = {}
    for entry in each_record(path):
        id_ = entry.get("identifier", str)
        once(id_, entry.place, seen, "the identifier")
        parts = id_.split("-")
        if len(parts) != 4:
            raise UserError(
                f"{entry.place}: 'identifier' is {id_!r}, but its form is split-set-pair-sentence, such as dev-850-0-0"
            )
        label = None
        if entry.has("label"):
            label = one_of(str(entry.values["label"]).capitalize(), ("True", "False"), f"{entry.place}: 'label'")
        stem = "-".join(parts[:3])
        left, right = (
            (f"{stem}-img{side}.png", f"{stem}-img{side}", f"nlvr2_{stem}-img{side}", f"nlvr2_{stem}-img{side}.npz")
            for side in (0, 1)
        )
        group = "-".join((*parts[:2], parts[3]))
        yield PairStatement(id_, left, right, entry.get("sentence", str), label, group)
