"""Supersenses: WordNet's 45 lexicographer files, and those that a word may belong to.

WordNet's database has the file of every synset (lexnames(5)): an animal, a feeling, a verb of motion. They are coarse
senses, few enough to be predicted at every word (Levine et al. 2020, SenseBERT, section 3.2).

Shapes: V vocabulary, T token rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.batch import Tokens
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.wordnet import FILES, read_synsets

#: Supersense names in the order of their ids.
SUPERSENSES = (
    *("adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact", "noun.attribute"),
    *("noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling", "noun.food", "noun.group"),
    *("noun.location", "noun.motive", "noun.object", "noun.person", "noun.phenomenon", "noun.plant"),
    *("noun.possession", "noun.process", "noun.quantity", "noun.relation", "noun.shape", "noun.state"),
    *("noun.substance", "noun.time", "verb.body", "verb.change", "verb.cognition", "verb.communication"),
    *("verb.competition", "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion"),
    *("verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather", "adj.ppl"),
)

#: English function words of more than three letters: WordNet lacks their main meaning.
_GRAMMAR = """
about above after again against also although among because been before being below beside between both cannot could
does doing done down during each either else ever every from further have having here hers herself himself however
into itself just many might more most much must myself neither never nobody none once only onto other ours ourselves
over same shall should since some such than that their theirs them themselves then there these they this those though
through thus till toward towards under unless until upon very were what whatever when where whether which while whom
whose will with within without would your yours yourself yourselves
"""
GRAMMAR_WORDS = frozenset(_GRAMMAR.split())

#: Inflectional endings and their replacements, by WordNet file (morphy(7)).
_ENDINGS = {
    "noun": (("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
             ("men", "man"), ("ies", "y")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip


@dataclass(frozen=True)
class Inventory:
    """Supersenses of lemmas, by WordNet file and lower-cased lemma."""

    lemmas: Mapping[str, Mapping[str, frozenset[int]]]
    irregular: Mapping[str, Mapping[str, tuple[str, ...]]]  #: base forms of irregular words, by file

    @classmethod
    def open(cls, folder: str | Path) -> Inventory:
        """Open WordNet's database files, with its lists of irregular words (``noun.exc``) if present.

        Raises:
            UserError: a file is missing, or a line cannot be read; the message names the line.
        """
        folder = Path(folder)
        letters = {letter: name for name, letter in FILES.items()}
        found: dict[str, dict[str, set[int]]] = {name: {} for name in FILES}
        for synset in read_synsets(folder):
            if synset.supersense >= len(SUPERSENSES):
                raise UserError(
                    f"{folder} has the synset {synset.name} in lexicographers' file {synset.supersense}, but those of "
                    f"WordNet are 0 to {len(SUPERSENSES) - 1}"
                )
            for lemma in synset.lemmas:
                found[letters[synset.name[-1]]].setdefault(lemma.lower(), set()).add(synset.supersense)
        kept = {name: {lemma: frozenset(senses) for lemma, senses in own.items()} for name, own in found.items()}
        return cls(kept, {name: _irregular(folder / f"{name}.exc") for name in FILES})

    def of(self, word: str) -> frozenset[int]:
        """Supersenses of a word in any part of speech; those of its base forms if WordNet does not have the word.

        Empty for a word that WordNet does not know in any form.
        """
        word = word.lower()
        own = frozenset[int]().union(*(known.get(word, ()) for known in self.lemmas.values()))
        if own:
            return own
        return frozenset[int]().union(
            *(known.get(base, ()) for name, known in self.lemmas.items() for base in self._bases(name, word))
        )

    def _bases(self, name: str, word: str) -> Iterator[str]:
        """Possible base forms of a word in one part of speech."""
        if word in self.irregular.get(name, {}):
            yield from self.irregular[name][word]
            return
        for ending, base in _ENDINGS[name]:
            if word.endswith(ending) and len(word) > len(ending):
                yield word.removesuffix(ending) + base


def _irregular(path: Path) -> dict[str, tuple[str, ...]]:
    if not path.is_file():
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for number, line in numbered_lines(path):
        word, *bases = line.split() or [""]
        if not bases:
            raise UserError(f"{path}, line {number} should be a word and its base forms, not {line[:40]!r}")
        found[word.replace("_", " ")] = tuple(base.replace("_", " ") for base in bases)
    return found


@dataclass(frozen=True, eq=False)
class SenseVocabulary:
    """Allowed supersenses of each word piece of a vocabulary."""

    allowed: Tensor  #: true where a piece may have a supersense, [V, 45]
    continues: Tensor  #: true where a piece continues a word, [V]

    @classmethod
    def of(
        cls,
        vocabulary: Sequence[str],
        inventory: Inventory,
        *,
        stop_words: Collection[str] = GRAMMAR_WORDS,
        shortest: int = 4,
    ) -> SenseVocabulary:
        """Build from a WordPiece vocabulary by the paper's rules: no sense for stop words and word continuations.

        Args:
            vocabulary: word pieces in the order of their ids.
            inventory: supersenses of words.
            stop_words: stop words in lower case.
            shortest: minimum length in letters; shorter words are mostly abbreviations.
        """
        allowed = torch.zeros(len(vocabulary), len(SUPERSENSES), dtype=torch.bool)
        for number, piece in enumerate(vocabulary):
            if len(piece) >= shortest and piece.lower() not in stop_words and not piece.startswith(("##", "[")):
                allowed[number, sorted(inventory.of(piece))] = True
        return cls(allowed, torch.tensor([piece.startswith("##") for piece in vocabulary], dtype=torch.bool))

    def of_words(self, tokens: Tokens) -> Tensor:
        """Allowed supersenses of the token rows as whole words, [T, 45]; none where a word has several pieces."""
        continued = self.continues[tokens.ids]
        first = tokens.layout.offsets_in_sequence(continued.device) == 0
        followed = torch.cat([continued[1:] & ~first[1:], continued.new_zeros(1)])[: len(continued)]
        return self.allowed[tokens.ids] & ~(continued | followed)[:, None]


def names(senses: Iterable[int]) -> list[str]:
    """Names of supersenses.

    >>> names([5, 38])
    ['noun.animal', 'verb.motion']
    """
    return [SUPERSENSES[sense] for sense in senses]
