"""Lexicons of pretraining: word senses, similar words, n-grams."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from mm_kptm.data.formats.similar_words import read_similar_words
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.sense_embedding import SenseEmbedding
from mm_kptm.knowledge.graph.wordnet import FILES, read_wordnet
from mm_kptm.knowledge.lexicons.ngrams import NgramLexicon
from mm_kptm.knowledge.lexicons.related_words import RelatedWords, WordVectors
from mm_kptm.knowledge.lexicons.supersenses import Inventory, SenseVocabulary
from mm_kptm.knowledge.objectives.lexical_relation import RELATED_WORDS, LexicalRelation
from mm_kptm.knowledge.objectives.masked_senses import WORD_SENSES, MaskedSenses
from mm_kptm.nn.submodules import submodule
from mm_kptm.objectives.similar_words import SIMILAR_WORDS, SimilarWords
from mm_kptm.systems.system import System


@dataclass(frozen=True, eq=False)
class Lexicons:
    """Lexicons named in the settings of a dataset, each read on first use.

    Args:
        tokenizer: of the texts.
        wordnet: folder of WordNet's files, for masked-senses and lexical-relation.
        vectors: of words, for lexical-relation.
        ngrams: file of n-grams, for ZEN.
        similar: table of similar words, for masked-similar-words.
    """

    tokenizer: Tokenizer
    wordnet: Path | None = None
    vectors: Path | None = None
    ngrams: Path | None = None
    similar: Path | None = None

    @property
    def has(self) -> dict[str, Callable[[], object]]:
        """Values for objectives, by need."""
        found: dict[str, Callable[[], object]] = {}
        if self.similar is not None:
            found[SIMILAR_WORDS] = partial(self._similar_words, self.similar)
        if self.wordnet is not None:
            found[WORD_SENSES] = lambda: self._senses
        if self.wordnet is not None and self.vectors is not None:
            found[RELATED_WORDS] = partial(self._lexical_relation, self.wordnet, self.vectors)
        return found

    def inform(self, system: System, objectives: Collection[str]) -> None:
        """Let an encoder that predicts the supersenses of words look them up."""
        if MaskedSenses.name in objectives:
            submodule(system.encoder, "embed.text", SenseEmbedding).allow(self._senses)

    @cached_property
    def known_ngrams(self) -> NgramLexicon | None:
        """The n-grams; None where no file of them is named."""
        return None if self.ngrams is None else NgramLexicon.open(self.ngrams, self.tokenizer)

    @cached_property
    def _senses(self) -> SenseVocabulary:
        assert self.wordnet is not None  # the objective is refused without it
        inventory = Inventory.open(self.wordnet)
        if not isinstance(self.tokenizer, WordPiece):
            raise UserError(
                f"{MaskedSenses.name} needs word pieces, but data.vocabulary holds pieces of another kind; "
                "name a vocab.txt"
            )
        return SenseVocabulary.of(self.tokenizer.vocabulary, inventory)

    def _similar_words(self, table: Path) -> SimilarWords:
        encode = self.tokenizer.encode
        return SimilarWords.of(
            read_similar_words(table), lambda word: encode(f" {word}").ids, self.tokenizer.specials.unknown
        )

    def _lexical_relation(self, wordnet: Path, vectors: Path) -> LexicalRelation:
        related = RelatedWords.of(read_wordnet(wordnet))
        words = {part for pair in related.pairs for word in pair for part in word.split(" ")}
        return LexicalRelation(related, WordVectors.open(vectors, words), self.tokenizer)


#: What would add the lexicons that some documents lack.
REMEDIES = {
    SIMILAR_WORDS: "name a word and words similar to it a line as data.similar",
    WORD_SENSES: "name a folder of WordNet's files as data.wordnet",
    RELATED_WORDS: "name a folder of WordNet's files as data.wordnet and vectors of words as data.vectors",
}


def wordnet_files(folder: Path | None) -> dict[str, Path]:
    """The files of WordNet that are read, by their part in the data; none where no folder is named."""
    return {} if folder is None else {f"wordnet.{name}": folder / f"data.{name}" for name in FILES}
