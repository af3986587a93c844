"""Reader of Visual Genome's region descriptions and questions."""

from __future__ import annotations

from pathlib import Path

from mm_kptm.data.formats.captions import Described
from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.io.records import Record, read_listed


def read_visual_genome(path: str | Path) -> tuple[Described, ...]:
    """``region_descriptions.json`` (Krishna et al. 2017): the phrases that describe parts of an image, as its captions.

    Raises:
        UserError: the file cannot be read, or a key is missing or of another kind.
    """
    images = []
    for image in read_listed(path):
        number = image.name("id", "image_id")
        phrases = [
            (one.name("region_id") if one.has("region_id") else f"{number}-{at}", one.get("phrase", str))
            for at, one in enumerate(image.records("regions", allow_none=True))
        ]
        if phrases:
            images.append(Described(_names(number), tuple(phrases)))
    return tuple(images)


def read_visual_genome_questions(path: str | Path) -> tuple[AskedImage, ...]:
    """``question_answers.json``: questions with one answer each, whose full stop is dropped; errors as above."""
    return tuple(
        AskedImage(
            id=pair.name("qa_id"),
            image=image.name("id", "image_id"),
            question=pair.get("question", str),
            answers=(pair.get("answer", str).rstrip(". "),),
            language="en",
            type="visual-genome",
        )
        for image in read_listed(path)
        for pair in _pairs(image)
        if pair.get("answer", str).rstrip(". ")
    )


def _pairs(image: Record) -> list[Record]:
    return image.records("qas", allow_none=True)


def _names(number: str) -> tuple[str, ...]:
    return number, f"{number}.jpg", f"vg_{int(number):012d}" if number.isdecimal() else number
