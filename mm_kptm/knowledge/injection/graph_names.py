"""Where texts name the entities of a graph that something is known about, and how a graph's names read in a text.

Names are found as ``mm-kptm kg link`` finds them: aliases and labels where the graph has them, otherwise the names of
its entities; compatibility forms, widths and the ways to write an accent do not differ, and case does only where the
tokenizer tells it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.linking.aliases import Aliases
from mm_kptm.knowledge.linking.segmenter import TAGS

_TAG = re.compile("|".join(map(re.escape, TAGS)))
_IRI = re.compile(r"[a-z][a-z0-9+.-]*:[^\s]*[/#:]([^\s/#:]+)[/#]?", re.IGNORECASE)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class EntityMention(NamedTuple):
    """Some characters of a text that name an entity."""

    start: int  #: the first
    end: int  #: the one after the last
    entity: str  #: as the graph numbers it


class GraphNames:
    """Finds entities with facts in texts.

    Args:
        graph: entities that are head of a triple are looked for; of several with one name the one in most triples.
        cased: whether upper and lower case differ.

    Raises:
        UserError: the graph has labels, but none of an entity with facts.
    """

    def __init__(self, graph: KnowledgeGraph, *, cased: bool = False) -> None:
        self._words = graph.words
        self._labels: dict[tuple[str, str | None], str] = {}  # by name and language, as they were asked for
        heads = frozenset(graph.heads)
        labelled = [names.keys() for names in graph.words.aliases.values()]
        if labelled and not any(names & heads for names in labelled):
            raise UserError(
                "the graph has labels or aliases, but none of an entity that is head of a triple, so that no fact can "
                "hang from a name; give labels to the entities that the texts name"
            )
        self._aliases = Aliases.of_graph(graph, among=heads, cased=cased)
        self.entities = self._aliases.entities  #: those that have a name

    def find(self, texts: Sequence[str], language: str | None = None) -> list[list[EntityMention]]:
        """The mentions of every text from left to right, the longest of those that overlap; none inside ``[MASK]``.

        Args:
            texts: in one language.
            language: whose names are looked for; names of all languages where the graph has none in it.
        """
        names = self._aliases.names(language if language is not None and self._aliases.speaks(language) else None)
        found: list[list[EntityMention]] = [[] for _ in texts]
        tags = {
            place: [match.span() for match in _TAG.finditer(text)] for place, text in enumerate(texts) if "[" in text
        }
        for text, start, end, name in names.index.find(texts):
            if any(start < behind and first < end for first, behind in tags.get(text, ())):
                continue
            entity = names.priors(name, texts[text][start:end])[0].entity
            found[text].append(EntityMention(start, end, entity))
        return found

    def spelled(self, triple: Triple, language: str | None = None) -> Triple:
        """A triple in words: labels where the graph has them, the last part of an IRI where it has none."""
        for part in triple:
            if (part, language) not in self._labels:
                self._labels[part, language] = self._label(part, language)
        return Triple(*(self._labels[part, language] for part in triple))

    def examples(self, entities: Iterable[str]) -> list[str]:
        """How some entities are called."""
        return [self._label(entity, None) for entity in entities]

    def _label(self, name: str, language: str | None) -> str:
        aliases = self._words.aliases
        wanted = "en" if language is None else language.lower()
        for one in sorted(aliases, key=lambda tag: (tag != wanted, tag not in ("und", "en"), tag)):
            if called := aliases[one].get(name):
                return called[0]
        last = _IRI.fullmatch(name)
        return name if last is None else last[1].replace("_", " ")


def tells_case(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer gives a capital letter another id than the small one."""
    return any(tokenizer.encode(letter.upper()).ids != tokenizer.encode(letter).ids for letter in _LETTERS)


def same_name(one: str, other: str) -> bool:
    """Whether two spellings are of one name but for case, width, compatibility forms and blanks."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())
