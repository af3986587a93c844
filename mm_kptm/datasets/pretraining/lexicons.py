"""Lexicons beside texts: what words may mean, which mean alike, which n-grams there are; and the objectives on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mm_kptm.data.tokenizers.protocol import Specials, Tokenizer
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.sense_embedding import SenseEmbedding
from mm_kptm.knowledge.graph.wordnet import FILES, read_wordnet
from mm_kptm.knowledge.lexicons.ngrams import NgramLexicon
from mm_kptm.knowledge.lexicons.related_words import RelatedWords, WordVectors
from mm_kptm.knowledge.lexicons.supersenses import Inventory, SenseVocabulary
from mm_kptm.knowledge.objectives.lexical_relation import LexicalRelation
from mm_kptm.knowledge.objectives.masked_senses import MaskedSenses
from mm_kptm.nn.submodules import submodule
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.tasks.pretraining import Maker


@dataclass(frozen=True, eq=False)
class Lexicons:
    """What the settings of some data name, each lexicon read when it is first asked for.

    Args:
        tokenizer: of the texts.
        wordnet: folder of WordNet's files, for masked-senses and lexical-relation.
        vectors: of words, for lexical-relation.
        ngrams: file of n-grams, for ZEN.
    """

    tokenizer: Tokenizer
    wordnet: Path | None = None
    vectors: Path | None = None
    ngrams: Path | None = None

    @property
    def objectives(self) -> Mapping[str, Maker]:
        """What only lexicons can feed."""
        return {MaskedSenses.name: self._masked_senses, LexicalRelation.name: self._lexical_relation}

    def tell(self, system: System, objectives: Collection[str]) -> None:
        """Let an encoder that predicts what words mean know it."""
        if MaskedSenses.name in objectives:
            submodule(system.encoder, "embed.text", SenseEmbedding).allow(self._senses)

    @cached_property
    def known_ngrams(self) -> NgramLexicon | None:
        """The n-grams; None where no file of them is named."""
        return None if self.ngrams is None else NgramLexicon.open(self.ngrams, self.tokenizer)

    @cached_property
    def _senses(self) -> SenseVocabulary:
        inventory = Inventory.open(_named(self.wordnet, "wordnet", MaskedSenses.name))
        if not isinstance(self.tokenizer, WordPiece):
            raise UserError(
                f"{MaskedSenses.name} tells what word pieces mean, but data.vocabulary holds pieces of another kind; "
                "name a vocab.txt"
            )
        return SenseVocabulary.of(self.tokenizer.vocabulary, inventory)

    def _masked_senses(self, specials: Specials, vocab_size: int, hidden: float) -> MaskedSenses:
        masking = Masking(specials.mask, (0, vocab_size), specials.never_hidden)
        return MaskedSenses(masking, self._senses, rate=hidden)

    def _lexical_relation(self, specials: Specials, vocab_size: int, hidden: float) -> LexicalRelation:
        related = RelatedWords.of(read_wordnet(_named(self.wordnet, "wordnet", LexicalRelation.name)))
        words = {part for pair in related.pairs for word in pair for part in word.split(" ")}
        vectors = WordVectors.open(_named(self.vectors, "vectors", LexicalRelation.name), words)
        return LexicalRelation(related, vectors, self.tokenizer)


def wordnet_files(folder: Path | None) -> dict[str, Path]:
    """The files of WordNet that are read, by their part in the data; none where no folder is named."""
    return {} if folder is None else {f"wordnet.{name}": folder / f"data.{name}" for name in FILES}


def _named(path: Path | None, setting: str, objective: str) -> Path:
    if path is None:
        raise UserError(f"objectives.{objective} reads data.{setting}, which is null; name it")
    return path
