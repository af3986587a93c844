"""Reader of OK-VQA's annotations, which have VQA v2's form without its usual answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mm_kptm.data.formats.vqa_v2 import VqaAnnotation
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, once, read_json


def read_ok_vqa(path: str | Path) -> tuple[VqaAnnotation, ...]:
    """A file such as ``mscoco_val2014_annotations.json`` of OK-VQA (Marino et al. 2019).

    Each question has ten answers, stemmed under ``answer`` and as given under ``raw_answer``; the evaluation compares
    the stemmed ones. The type of a question is its kind of knowledge.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a question is there twice.
    """
    whole = Record.of(read_json(path), str(path))
    kinds = whole.values.get("question_types")
    names = {str(key): str(value) for key, value in kinds.items()} if isinstance(kinds, dict) else {}
    seen: dict[str, str] = {}
    annotations = []
    for entry in whole.records("annotations"):
        given = tuple(person.get("answer", str) for person in entry.records("answers"))
        if not given:
            raise UserError(f"{entry.place}: 'answers' is empty, but accuracy needs at least one")
        kind = entry.text("question_type", "")
        annotation = VqaAnnotation(
            question=entry.get("question_id", int),
            image=entry.get("image_id", int),
            answers=given,
            most_frequent=Counter(given).most_common(1)[0][0],
            question_type=kind,
            answer_type=names.get(kind, kind) or "other",
        )
        once(annotation.question, entry.place, seen, "question")
        annotations.append(annotation)
    return tuple(annotations)
