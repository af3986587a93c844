"""Readers of captions collected on the web: Conceptual Captions and SBU."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from mm_kptm.data.formats.captions import Described
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_json, read_lines, read_table


def read_conceptual_captions(path: str | Path) -> tuple[Described, ...]:
    """Conceptual Captions (Sharma et al. 2018): a caption and a URL between tabs a line, or JSON Lines.

    An image of ``Train_GCC-training.tsv`` is called by the number of its line, from 0, as usual, or by the file name in
    its URL. JSON Lines, as VL-BERT has them, hold ``image`` and ``caption`` (a text, or its words).

    Raises:
        UserError: the file cannot be read, or a line has another form.
    """
    if Path(path).suffix in (".json", ".jsonl"):
        return tuple(_line(entry, at) for at, entry in enumerate(read_lines(path)))
    found = []
    for at, (cells, place) in enumerate(read_table(path)):
        if len(cells) != 2 or not cells[0].strip():
            raise UserError(
                f"{place} must hold a caption and the address of its image between tabs; it has {len(cells)} cells"
            )
        file = PurePosixPath(urlsplit(cells[1]).path).name
        found.append(Described((str(at), f"{at:08d}", f"{at}.jpg", file or str(at)), ((str(at), cells[0]),)))
    return tuple(found)


def read_sbu(path: str | Path) -> tuple[Described, ...]:
    """SBU captions (Ordonez et al. 2011): ``sbu-captions-all.json``, lists of captions and of addresses.

    An image is called by the file name in its address, or by its place in the lists.

    Raises:
        UserError: the file cannot be read, or the lists differ in length.
    """
    whole = Record.of(read_json(path), str(path))
    captions, addresses = whole.texts("captions"), whole.texts("image_urls")
    if len(captions) != len(addresses):
        raise UserError(f"{path} has {len(captions)} captions but {len(addresses)} image_urls; each needs the other")
    return tuple(
        Described(_names(address, at), ((str(at), caption),))
        for at, (caption, address) in enumerate(zip(captions, addresses, strict=True))
    )


def _names(address: str, at: int) -> tuple[str, ...]:
    file = PurePosixPath(urlsplit(address).path)
    return (file.name, file.stem, str(at)) if file.name else (str(at),)


def _line(entry: Record, at: int) -> Described:
    image = entry.get("image", str)
    said = entry.values.get("caption")
    caption = " ".join(entry.texts("caption")) if isinstance(said, list) else entry.get("caption", str)
    # a path into an archive, as VL-BERT writes it: train_image.zip@/00000001.jpg
    inner = PurePosixPath(image.rpartition("@")[2])
    return Described((image, inner.name, inner.stem), ((str(at), caption),))
