"""Concepts of Atlas: emoji sequences without skin tones, with their groups and families."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mm_kptm.suites.atlas.data.archives import Opened

JOINER, PRESENTATION = "200D", "FE0F"
SKIN_TONES = frozenset({"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"})
#: Signs that only say who does something: woman, man, person and the signs of gender.
PEOPLE = frozenset({"1F468", "1F469", "1F9D1", "2640", "2642"})
FACING_RIGHT = "27A1"  #: the sign that turns who moves to the right: the same drawing in a mirror
#: Concepts that stand for the same with another person: man, woman, person; boy, girl, child; and so on.
_VARIANTS = (
    ("1F468", "1F469", "1F9D1"), ("1F466", "1F467", "1F9D2"), ("1F474", "1F475", "1F9D3"),
    ("1F385", "1F936"), ("1F934", "1F478", "1FAC5"), ("1F57A", "1F483"), ("1F470", "1F935"),
)  # fmt: skip


class Concept(NamedTuple):
    """One emoji sequence.

    Args:
        code: its code points without presentation selectors, in hexadecimal, with hyphens between.
        group: of Unicode's nine.
        subgroup: of Unicode's hundred.
        family: what is never split: variants that differ in the person or the direction alone, and drawings that look
            alike, as they are or in a mirror.
        parts: codes of the concepts that a joined sequence is made of.
    """

    code: str
    group: str
    subgroup: str
    family: str
    parts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The characters."""
        return "".join(chr(int(point, 16)) for point in self.code.split("-"))


def without_presentation(code: str) -> str:
    """A sequence of code points without presentation selectors, in capital letters, of four digits at least.

    >>> without_presentation("1f636-200d-1f32b-fe0f"), without_presentation("23-20e3")
    ('1F636-200D-1F32B', '0023-20E3')
    """
    return "-".join(point.zfill(4) for point in code.upper().split("-") if point != PRESENTATION)


def family_of(code: str) -> str:
    """What a sequence shares with its variants in gender and in the direction of a movement.

    >>> family_of("1F469-200D-1F680"), family_of("1F468-200D-1F680"), family_of("1F680")
    ('200D-1F680', '200D-1F680', '1F680')
    >>> family_of("1F6B6-200D-2640-200D-27A1"), family_of("27A1")
    ('1F6B6', '27A1')
    """
    for variants in _VARIANTS:
        if code in variants:
            return variants[0]
    points = code.split("-")
    left = [point for point in points if point not in PEOPLE and point != FACING_RIGHT]
    while left and left[-1] == JOINER:
        left.pop()
    kept = "-".join(left) or code
    return kept if JOINER not in kept or any(point not in PEOPLE | {JOINER} for point in left) else code


def read_concepts(sequences: Opened) -> list[Concept]:
    """All sequences without skin tones and without flags of territories, in Unicode's order."""
    names = sequences.json("package/meta/groups.json")
    found = []
    for entry in sorted(sequences.json("package/en/data.json"), key=lambda one: one.get("order", 1 << 20)):
        code = without_presentation(entry["hexcode"])
        if "group" not in entry or set(code.split("-")) & SKIN_TONES or territory_of(code) is not None:
            continue
        group = names["groups"][str(entry["group"])]
        if group == "component":
            continue
        parts = tuple(code.replace(f"-{JOINER}-", "/").split("/")) if JOINER in code else ()
        found.append(Concept(code, group, names["subgroups"][str(entry["subgroup"])], family_of(code), parts))
    return found


def territory_of(code: str) -> str | None:
    """The country code that a sequence of regional indicators spells; None for others.

    >>> territory_of("1F1EB-1F1F7")
    'FR'
    """
    points = [int(point, 16) for point in code.split("-")]
    if len(points) != 2 or not all(0x1F1E6 <= point <= 0x1F1FF for point in points):
        return None
    return "".join(chr(point - 0x1F1E6 + ord("A")) for point in points)


def merged_families(concepts: Iterable[Concept], alike: Iterable[tuple[str, str]]) -> list[Concept]:
    """The concepts with one family for those that are drawn alike.

    Args:
        concepts: in order.
        alike: pairs of codes.
    """
    concepts = list(concepts)
    leader: dict[str, str] = {one.family: one.family for one in concepts}
    family: Mapping[str, str] = {one.code: one.family for one in concepts}

    def root(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for one, other in alike:
        first, second = sorted((root(family[one]), root(family[other])))
        leader[second] = first
    return [one._replace(family=root(one.family)) for one in concepts]


def read_names(annotations: Iterable[Opened], language: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Names and keywords of sequences in one language, by code, in Unicode's Common Locale Data Repository."""
    names: dict[str, str] = {}
    keywords: dict[str, list[str]] = {}
    for opened in annotations:
        room = "annotationsDerived" if "derived" in opened.archive.package else "annotations"
        name = f"package/{room}/{language}/annotations.json"
        if name not in opened:
            continue
        for text, entry in json.loads(opened.files[name])[room].get("annotations", {}).items():
            code = without_presentation("-".join(f"{ord(letter):X}" for letter in text))
            if "tts" in entry:
                names[code] = entry["tts"][0]
            keywords[code] = entry.get("default", [])
    return names, keywords
