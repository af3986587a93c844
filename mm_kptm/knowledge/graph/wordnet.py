"""WordNet database files (Fellbaum 1998; wndb(5)): synsets, pointers, lemmas and glosses.

A synset is named by its place in its file and the letter of the file, ``02084071-n``, the number that WN18RR has too.
Pointers between two words of synsets become triples between the synsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.graph.triples import Triple

FILES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_POINTERS = {
    "!": "antonym",
    "@": "hypernym",
    "@i": "instance_hypernym",
    "~": "hyponym",
    "~i": "instance_hyponym",
    "#m": "member_holonym",
    "#s": "substance_holonym",
    "#p": "part_holonym",
    "%m": "member_meronym",
    "%s": "substance_meronym",
    "%p": "part_meronym",
    "=": "attribute",
    "+": "derivationally_related_form",
    "*": "entailment",
    ">": "cause",
    "^": "also_see",
    "$": "verb_group",
    "&": "similar_to",
    "<": "participle_of_verb",
    ";c": "synset_domain_topic_of",
    "-c": "member_of_domain_topic",
    ";r": "synset_domain_region_of",
    "-r": "member_of_domain_region",
    ";u": "synset_domain_usage_of",
    "-u": "member_of_domain_usage",
}
_DERIVED = {"a": "pertainym", "r": "derived_from_adjective"}  # the pointer \ of either file


class Synset(NamedTuple):
    """One synset, a line of a database file."""

    name: str
    supersense: int  #: the lexicographers' file that it comes from, see :mod:`mm_kptm.knowledge.lexicons.supersenses`
    lemmas: tuple[str, ...]
    pointers: tuple[Triple, ...]
    gloss: str


def read_wordnet(folder: str | Path) -> KnowledgeGraph:
    """Graph of ``data.noun``, ``data.verb``, ``data.adj`` and ``data.adv``, with English lemmas and glosses.

    Raises:
        UserError: a file is missing, or a line cannot be read; the message names the line.
    """
    words: dict[str, tuple[str, ...]] = {}
    glosses: dict[str, str] = {}

    def triples() -> Iterator[Triple]:
        for synset in read_synsets(folder):
            words[synset.name], glosses[synset.name] = synset.lemmas, synset.gloss
            yield from synset.pointers

    known = list(triples())
    return KnowledgeGraph(known, NameIndex({"en": words}, {"en": glosses}), entities=words)


def read_synsets(folder: str | Path) -> Iterator[Synset]:
    """Synsets of the four files, in order.

    Raises:
        UserError: as :func:`read_wordnet`.
    """
    folder = Path(folder)
    for name, letter in FILES.items():
        path = folder / f"data.{name}"
        if not path.is_file():
            raise UserError(f"{folder} has no {path.name}; WordNet is data.noun, data.verb, data.adj and data.adv")
        for number, line in numbered_lines(path):
            if line.startswith("  "):
                continue  # the licence
            try:
                yield _synset(line, letter)
            except (ValueError, KeyError, IndexError):
                raise UserError(f"{path}, line {number} is no synset of WordNet: {line[:60]!r}") from None


def _synset(line: str, letter: str) -> Synset:
    """Parse a line: offset, lexicographer file, type, count and words, count and pointers, ``|`` gloss."""
    data, _, gloss = line.partition(" | ")
    parts = data.split()
    name, count = f"{int(parts[0]):08d}-{letter}", int(parts[3], 16)
    lemmas = parts[4 : 4 + 2 * count : 2]
    start = 4 + 2 * count
    end = start + 1 + 4 * int(parts[start])
    if len(lemmas) != count or len(parts) < end:
        raise ValueError
    pointers = tuple(
        Triple(name, _DERIVED[letter] if sign == "\\" else _POINTERS[sign], f"{offset}-{pos}")
        for sign, offset, pos in zip(*(parts[start + 1 + step : end : 4] for step in range(3)), strict=True)
    )
    # an adjective's place in a sentence, such as "(p)", is no part of the word
    words = tuple(lemma.partition("(")[0].replace("_", " ") for lemma in lemmas)
    return Synset(name, int(parts[1]), words, pointers, gloss.strip())
