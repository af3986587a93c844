"""Readers of cloze sentences: LAMA's facts (Petroni et al. 2019), with their own sentences or with templates.

A blank is written ``[MASK]``. Of several blanks of a sentence the first is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_lines

BLANK = "[MASK]"
SUBJECT, OBJECT = "[X]", "[Y]"  #: in templates
_SENTENCES = ("masked_sentences", "masked_sentence")


@dataclass(frozen=True, slots=True)
class Cloze:
    """A cloze sentence with its fact."""

    id: str
    text: str
    answer: str | None  #: None if unknown
    relation: str  #: relation, over which scores are averaged
    subject: str | None = None  #: subject of the fact
    called: tuple[str, ...] = ()  #: names of the relation in a graph
    language: str = "en"


@dataclass(frozen=True)
class Template:
    """Template of a relation."""

    text: str
    label: str | None = None


def read_templates(path: str | Path) -> dict[str, Template]:
    """LAMA's ``relations.jsonl``: ``relation``, ``template`` with [X] and [Y], and perhaps ``label``.

    Raises:
        UserError: the file cannot be read, a key is missing, a template lacks a slot, or a relation is there twice.
    """
    templates: dict[str, Template] = {}
    for record in read_lines(path):
        relation, text = record.get("relation", str), record.get("template", str)
        if text.count(SUBJECT) != 1 or text.count(OBJECT) != 1:
            raise UserError(f"{record.place}: the template {text!r} must have one {SUBJECT} and one {OBJECT}")
        if relation in templates:
            raise UserError(f"{record.place}: the relation {relation} is there twice")
        label = record.get("label", str) if "label" in record.values else None
        templates[relation] = Template(text, label)
    return templates


def read_lama(path: str | Path, templates: Mapping[str, Template] | None = None) -> tuple[Cloze, ...]:
    """Facts of a file of one JSON object a line, or of every ``.jsonl`` file of a folder.

    A relation with a template has one sentence for each pair of subject and object; others have those of the file, and
    their facts need no subject. A fact that most judges of Google-RE rejected is passed over.

    Args:
        path: file or folder; a file's name is the relation of lines without one.
        templates: templates by relation.

    Raises:
        UserError: there is nothing, a key is missing that the sentence needs, or there is neither a sentence with a
            blank nor a template.
    """
    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} has no file whose name ends in .jsonl; LAMA has one for each relation")
    found = [cloze for file in files for cloze in _of_file(file, templates or {})]
    if not found:
        raise UserError(f"{path} holds no fact that its judges accepted; at least one was expected")
    return tuple(found)


def _of_file(file: Path, templates: Mapping[str, Template]) -> Iterator[Cloze]:
    said: set[tuple[str, str, str]] = set()
    for number, record in enumerate(read_lines(file), 1):
        if _rejected(record):
            continue
        subject, answer = _subject(record), record.get("obj_label", str)
        named = [record.get(key, str) for key in ("predicate_id", "pred") if key in record.values]
        relation = named[0].rsplit("/", 1)[-1] if named else file.stem
        template = templates.get(relation)
        if template is not None and subject is None:
            raise UserError(
                f"{record.place} has no 'sub_label' for {SUBJECT} of the template of {relation}; give the fact one, or "
                "leave the template out, so that its own sentences are read"
            )
        key = (relation, subject or record.place, answer)
        if template is None:
            text = " ".join(_sentences(record))
        elif key in said:
            continue
        else:
            text = template.text.replace(SUBJECT, (subject or "").strip()).replace(OBJECT, BLANK)
        said.add(key)
        if BLANK not in text:
            raise UserError(f"{record.place} has no {BLANK} in {text[:60]!r}; the object is asked for there")
        called = (relation, *named, *([template.label] if template is not None and template.label else []))
        yield Cloze(f"{file.stem}-{number}", text, answer, relation, subject, tuple(dict.fromkeys(called)))


def _subject(record: Record) -> str | None:
    """Whom a fact is about: ``sub_label``, or ``sub`` in LAMA's part of ConceptNet; None where neither is there."""
    return next((record.get(key, str) for key in ("sub_label", "sub") if record.has(key)), None)


def _sentences(record: Record) -> tuple[str, ...]:
    """A fact's own sentences with blanks in place of the object, or that of the first passage that states it."""
    if _SENTENCES[0] in record.values:
        return record.texts(_SENTENCES[0])
    if "evidences" in record.values:
        return (record.records("evidences")[0].get(_SENTENCES[1], str),)
    if _SENTENCES[1] in record.values:
        return (record.get(_SENTENCES[1], str),)
    raise UserError(
        f"{record.place} has neither masked_sentences nor a template of its relation; let data.templates name a file "
        "of templates"
    )


def _rejected(record: Record) -> bool:
    if "judgments" not in record.values:
        return False
    votes = [judgment.get("judgment", str) for judgment in record.records("judgments")]
    return votes.count("yes") < len(votes) - votes.count("yes")
