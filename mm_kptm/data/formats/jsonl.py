"""Readers of the user's own data: one schema per task (``docs/own-data.md``), in any of the files of data sets.

The id of an example is its ``id``, or its line number. Labels may be missing in data to predict on; then the key is
left out. Character spans are half-open and count from 0; a box is x1, y1, x2, y2 as fractions of the image; images
have the names of the region store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mm_kptm.data.formats.captions import Described, Pointed
from mm_kptm.data.formats.lama import BLANK, Cloze
from mm_kptm.data.formats.mentions import RelatedMentions, TypedMention, span
from mm_kptm.data.formats.tables import TableColumns, each_record_of
from mm_kptm.data.formats.uer_tsv import ClassifiedText, Tagged, checked
from mm_kptm.data.formats.xnli import LABELS, SentencePair
from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import Json, Record, expected, once, one_of
from mm_kptm.io.text_lines import is_blank

T = TypeVar("T")
BY_KEY = TableColumns()  #: columns are called as the keys of the schema
PEOPLE = 10  #: who answered every question of VQA v2


@dataclass(frozen=True, slots=True)
class AskedImage:
    """A question about an image, with the answers of the annotators."""

    id: str
    image: str
    question: str
    answers: tuple[str, ...]  #: empty if unknown
    language: str
    type: str


@dataclass(frozen=True, slots=True)
class Translated:
    """A sentence and its translations."""

    id: str
    sentences: dict[str, str]  #: by language, two at least


@collected
def read_vqa(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[AskedImage]:
    """``{"image", "question"}`` and perhaps ``answers``, ``language``, ``type``."""
    yield from _read(path, _vqa, ("image", "question", "answers", "language", "type"), table)


@collected
def read_retrieval(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[Described]:
    """``{"image", "captions"}`` and perhaps ``language``."""
    yield from _read(path, _described, ("image", "captions", "language"), table)


@collected
def read_grounding(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[Pointed]:
    """``{"image", "text"}`` and perhaps ``box``, ``language``."""
    yield from _read(path, _pointed, ("image", "text", "box", "language"), table)


@collected
def read_entailment(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[SentencePair]:
    """``{"premise", "hypothesis"}`` and perhaps ``label``, ``language``."""
    yield from _read(path, _pair, ("premise", "hypothesis", "label", "language"), table)


@collected
def read_classification(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[ClassifiedText]:
    """``{"text"}`` and perhaps ``pair``, ``label``, ``language``."""
    yield from _read(path, _classified, ("text", "pair", "label", "language"), table)


@collected
def read_named_entities(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[Tagged]:
    """``{"words": [...]}`` and perhaps as many ``tags``, ``language``."""
    yield from _read(path, _tagged, ("words", "tags", "language"), table)


@collected
def read_cloze(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[Cloze]:
    """``{"text"}`` with a blank, and perhaps ``answer``, ``subject``, ``relation``, ``language``."""
    yield from _read(path, _cloze, ("text", "answer", "subject", "relation", "language"), table)


@collected
def read_typing(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[TypedMention]:
    """``{"text", "mention": [start, end]}`` and perhaps ``types``, ``language``."""
    yield from _read(path, _typed, ("text", "mention", "types", "language"), table)


@collected
def read_relation(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[RelatedMentions]:
    """``{"text", "head": [start, end], "tail": [start, end]}`` and perhaps ``relation``, ``language``."""
    yield from _read(path, _related, ("text", "head", "tail", "relation", "language"), table)


@collected
def read_parallel(path: str | Path, table: TableColumns = BY_KEY) -> Iterator[Translated]:
    """``{"sentences": {language: text, ...}}``."""
    yield from _read(path, _translated, ("sentences",), table)


def _read(
    path: str | Path, read: Callable[[Record, str], T], keys: tuple[str, ...], table: TableColumns
) -> Iterator[T]:
    """Every example; ``UserError`` as :func:`each_record_of`, and for an id that is there twice."""
    keys, seen = (*keys, "id"), dict[str, str]()
    for number, record in enumerate(each_record_of(path, keys, table), 1):
        id_ = record.name("id") if "id" in record.values else str(number)
        if "id" in record.values and not seen:  # lines above have their number for an id, which takes no memory
            for above, one in enumerate(islice(each_record_of(path, keys, table), number - 1), 1):
                once(above, one.place, seen, "the id")
        if seen or "id" in record.values:
            once(id_, record.place, seen, "the id")
        yield read(record, id_)


def _label(record: Record, key: str) -> str:
    text = record.text(key)
    if not text.strip():
        raise UserError(f"{record.place}: {key!r} is blank; a label was expected")
    return text


def _filled(record: Record, key: str) -> str:
    text = record.get(key, str)
    if is_blank(text):
        raise UserError(f"{record.place}: {key!r} is blank; a text was expected")
    return text


def _language(record: Record) -> str:
    return _filled(record, "language") if "language" in record.values else "en"


def _vqa(record: Record, id_: str) -> AskedImage:
    answers = record.texts("answers") if "answers" in record.values else ()
    if len(answers) not in (0, 1, PEOPLE):
        raise UserError(
            f"{record.place}: 'answers' holds {len(answers)}; give one answer, or those of {PEOPLE} people, which the "
            "official accuracy needs"
        )
    return AskedImage(
        id=id_,
        image=record.name("image"),
        question=_filled(record, "question"),
        answers=answers,
        language=_language(record),
        type=_filled(record, "type") if "type" in record.values else "question",
    )


def _described(record: Record, id_: str) -> Described:
    captions = tuple((f"{id_}-{at}", text) for at, text in enumerate(record.texts("captions")))
    return Described((record.name("image"),), captions, language=_language(record))


def _pointed(record: Record, id_: str) -> Pointed:
    box = None
    if "box" in record.values:
        x1, y1, x2, y2 = record.numbers("box", 4)
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise UserError(
                f"{record.place}: 'box' is {[x1, y1, x2, y2]}; a box is x1 < x2 and y1 < y2 as fractions of the image"
            )
        box = (x1, y1, x2, y2)
    return Pointed(id_, (record.name("image"),), _filled(record, "text"), box, language=_language(record))


def _pair(record: Record, id_: str) -> SentencePair:
    label = None
    if "label" in record.values:
        label = one_of(_label(record, "label"), LABELS, f"{record.place}: 'label'")
    return SentencePair(
        id_, _filled(record, "premise"), _filled(record, "hypothesis"), label, _language(record), f"pair-{id_}"
    )


def _classified(record: Record, id_: str) -> ClassifiedText:
    texts = tuple(_filled(record, key) for key in ("text", "pair") if key == "text" or key in record.values)
    label = _label(record, "label") if "label" in record.values else None
    return ClassifiedText(id_, texts, label, _language(record))


def _tagged(record: Record, id_: str) -> Tagged:
    words = _unbroken(record, "words")
    tags = checked(words, _unbroken(record, "tags"), record.place) if "tags" in record.values else None
    return Tagged(id_, words, tags, _language(record))


def _cloze(record: Record, id_: str) -> Cloze:
    text = _filled(record, "text")
    if BLANK not in text:
        raise UserError(f"{record.place}: 'text' has no {BLANK}, which marks what is predicted")
    answer, subject, relation = (
        _filled(record, key) if key in record.values else None for key in ("answer", "subject", "relation")
    )
    return Cloze(id_, text, answer, relation or "blank", subject, (relation,) if relation else (), _language(record))


def _unbroken(record: Record, key: str) -> tuple[str, ...]:
    """A list of texts without blanks inside."""
    listed = record.texts(key)
    for at, text in enumerate(listed):
        if len(text.split()) != 1:
            raise UserError(f"{record.place}: {key}[{at}] is {text!r}; one word without blanks was expected")
    return listed


def _typed(record: Record, id_: str) -> TypedMention:
    text = _filled(record, "text")
    types = record.texts("types") if "types" in record.values else None
    if types is not None and any("|" in type_ for type_ in types):
        raise UserError(f"{record.place}: 'types' has a type with | in it, which parts types in predictions; rename it")
    return TypedMention(id_, text, span(record, "mention", text), types, language=_language(record))


def _related(record: Record, id_: str) -> RelatedMentions:
    text = _filled(record, "text")
    head, tail = span(record, "head", text), span(record, "tail", text)
    if head.start < tail.end and tail.start < head.end:
        raise UserError(f"{record.place}: 'head' and 'tail' share characters; they must stand apart")
    relation = _label(record, "relation") if "relation" in record.values else None
    return RelatedMentions(id_, text, head, tail, relation, language=_language(record))


def _translated(record: Record, id_: str) -> Translated:
    said: dict[str, Json] = record.get("sentences", dict)
    sentences = {key: expected(value, str, f"{record.place}: 'sentences', {key}") for key, value in said.items()}
    for language, sentence in sentences.items():
        if is_blank(language) or is_blank(sentence):
            raise UserError(f"{record.place}: 'sentences' holds a blank language or a blank text")
    if len(sentences) < 2:
        raise UserError(f"{record.place}: 'sentences' is in {len(sentences)} language; two at least were expected")
    return Translated(id_, sentences)
