"""Readers of IGLUE's multilingual files: XVNLI, xGQA, MaRVL and xFlickr&CO (Bugliarello et al. 2022).

Their languages are in the names of files (``marvl-sw.jsonl``) or of folders (``annotations/de/test.jsonl``); files
without one, such as those of training, are in English.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mm_kptm.data.formats.captions import Described
from mm_kptm.data.formats.vision.gqa import GqaQuestion, read_gqa
from mm_kptm.data.formats.vision.nlvr2 import PairStatement, read_nlvr2
from mm_kptm.data.formats.vision.snli_ve import LABELS, Hypothesis
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, once, one_of, read_json, read_lines

ENGLISH = "en"
_IN_FOLDER = re.compile(r"^[a-z]{2}$")
_IN_NAME = re.compile(r"[-_]([a-z]{2})\.jsonl?$")


def language_in(path: Path) -> str:
    """The language in the name of a file or of its folder, else English.

    >>> language_in(Path("marvl-sw.jsonl")), language_in(Path("annotations/de/test.jsonl")), language_in(Path("a.json"))
    ('sw', 'de', 'en')
    """
    if found := _IN_NAME.search(path.name):
        return found[1]
    return path.parent.name if _IN_FOLDER.match(path.parent.name) else ENGLISH


def _names(image: str) -> tuple[str, ...]:
    path = PurePosixPath(image)
    return tuple(dict.fromkeys((path.name, path.stem, image)))


def read_xvnli(path: str | Path) -> tuple[tuple[Hypothesis, str], ...]:
    """Hypotheses about photographs of Flickr30k and their language; the premise in words is not read.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a label is unknown, an id is twice.
    """
    language, seen = language_in(Path(path)), dict[str, str]()
    found = []
    for entry in read_lines(path):
        id_ = entry.name("pairID")
        once(id_, entry.place, seen, "the pairID")
        label = None
        if entry.has("gold_label"):
            label = one_of(entry.get("gold_label", str), LABELS, f"{entry.place}: 'gold_label'")
        image = entry.name("Flikr30kID", "Flickr30kID", "Flickr30K_ID", "image")
        names = (f"{PurePosixPath(image).stem}.jpg", *_names(image))
        found.append((Hypothesis(f"{language}-{id_}", names, entry.get("sentence2", str), label), language))
    return tuple(found)


def read_xgqa(path: str | Path) -> tuple[tuple[GqaQuestion, str], ...]:
    """Questions and their language: GQA's object of questions, or IGLUE's list with one answer under ``label``.

    Raises:
        UserError: the file cannot be read, or a key is missing or of another kind.
    """
    language = language_in(Path(path))
    whole = read_json(path)
    if isinstance(whole, list):
        asked = [_listed(Record.of(value, f"{path}, entry {number}")) for number, value in enumerate(whole, 1)]
    else:
        asked = list(read_gqa(path))
    return tuple((replace(one, id=f"{language}-{one.id}", entailed=()), language) for one in asked)


def _listed(one: Record) -> GqaQuestion:
    labels = Record.of(one.values.get("label") or {}, f"{one.place}, label").values
    answer = max(labels, key=lambda name: float(str(labels[name]))) if labels else None
    return GqaQuestion(
        id=one.name("question_id"),
        image=one.name("img_id"),
        text=one.get("sent", str),
        answer=answer,
        balanced=True,
        structural="query",
        detailed="",
        group=None,
        entailed=(),
    )


def read_marvl(path: str | Path) -> tuple[tuple[PairStatement, str], ...]:
    """Statements about two images and their language; NLVR2's lines of training are read as well.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, an id is twice.
    """
    language, seen = language_in(Path(path)), dict[str, str]()
    records = read_lines(path)
    if not any(entry.has("caption") for entry in records):
        return tuple((one, ENGLISH) for one in read_nlvr2(path))
    found = []
    for entry in records:
        id_ = entry.name("id")
        once(id_, entry.place, seen, "the id")
        label = str(entry.truth("label")) if entry.has("label") else None
        left, right = (_names(entry.get(f"{side}_img", str)) for side in ("left", "right"))
        group = f"{language}-{entry.text('concept', id_)}"
        statement = PairStatement(f"{language}-{id_}", left, right, entry.get("caption", str), label, group)
        found.append((statement, language))
    return tuple(found)


def read_xflickrco(path: str | Path) -> tuple[Described, ...]:
    """Images and their captions.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, an image is twice.
    """
    language, seen = language_in(Path(path)), dict[str, str]()
    found = []
    for entry in read_lines(path):
        image = entry.get("img_path", str)
        once(image, entry.place, seen, "the image")
        id_ = entry.name("id")
        captions = tuple((f"{language}-{id_}-{at}", text) for at, text in enumerate(entry.texts("sentences")))
        found.append(Described(_names(image), captions, None, language))
    if not found:
        raise UserError(f"{path} holds no image; one JSON object a line was expected")
    return tuple(found)
