"""Pretraining on texts of one's own, one a line, with the lexicons that some objectives read besides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.tokenizer import Specials, WordPiece, framed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph import numbered_lines
from mm_kptm.knowledge.lexical_relation import LexicalRelation
from mm_kptm.knowledge.masked_senses import MaskedSenses
from mm_kptm.knowledge.ngrams import MaskedTokensAmongNgrams, NgramLexicon
from mm_kptm.knowledge.related_words import RelatedWords, WordVectors
from mm_kptm.knowledge.supersenses import Inventory, SenseVocabulary
from mm_kptm.knowledge.wordnet import FILES, read_wordnet
from mm_kptm.models.system import System
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.tasks.files import SplitFiles, hashes
from mm_kptm.tasks.inputs import TextsOfPictures
from mm_kptm.tasks.pretraining import Maker, PuzzleSource, heads_of, objectives_named
from mm_kptm.tasks.reading import Reading
from mm_kptm.tasks.supply import Prepared, Request, Supply


@dataclass(frozen=True, kw_only=True)
class PlainTexts(SplitFiles):
    """A text a line."""

    name: Literal["plain-texts"]
    hidden: float = 0.15  #: share of tokens that objectives on tokens hide
    wordnet: Path | None = None  #: folder of WordNet's files, which masked-senses and lexical-relation read
    vectors: Path | None = None  #: of words, among which lexical-relation finds near ones
    ngrams: Path | None = None  #: file of n-grams that masked-tokens shows the hidden tokens among, for ZEN

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.hidden < 1:
            raise UserError(f"data.hidden is {self.hidden} but must be a share of the tokens, above 0 and below 1")

    @property
    def hashes(self) -> dict[str, str]:
        """What tells these data from others."""
        lexicons = {name: path for name in ("vectors", "ngrams") if (path := getattr(self, name)) is not None}
        if self.wordnet is not None:
            lexicons |= {f"wordnet.{name}": self.wordnet / f"data.{name}" for name in FILES}
        return {**super().hashes, **hashes(lexicons)}


@dataclass(frozen=True, eq=False)
class Lexicons:
    """The objectives of texts with lexicons, each lexicon read when an objective first asks for it."""

    data: PlainTexts
    tokenizer: WordPiece

    def masked_tokens(self, specials: Specials, vocab_size: int, hidden: float) -> MaskedTokensAmongNgrams:
        """As without a lexicon, among the n-grams that can still be seen."""
        return MaskedTokensAmongNgrams(_masking(specials, vocab_size, hidden), self.ngrams)

    def masked_senses(self, specials: Specials, vocab_size: int, hidden: float) -> MaskedSenses:
        """Words and their supersenses."""
        return MaskedSenses(_masking(specials, vocab_size, hidden), self.senses, rate=hidden)

    def lexical_relation(self, specials: Specials, vocab_size: int, hidden: float) -> LexicalRelation:
        """Related words and near ones."""
        related = RelatedWords.of(read_wordnet(_named(self.data.wordnet, "wordnet", LexicalRelation.name)))
        words = {part for pair in related.pairs for word in pair for part in word.split(" ")}
        vectors = WordVectors.open(_named(self.data.vectors, "vectors", LexicalRelation.name), words)
        return LexicalRelation(related, vectors, self.tokenizer)

    @cached_property
    def ngrams(self) -> NgramLexicon:
        """The n-grams that are named."""
        return NgramLexicon.open(_named(self.data.ngrams, "ngrams", MaskedTokensAmongNgrams.name), self.tokenizer)

    @cached_property
    def senses(self) -> SenseVocabulary:
        """What the pieces of the vocabulary may mean."""
        inventory = Inventory.open(_named(self.data.wordnet, "wordnet", MaskedSenses.name))
        return SenseVocabulary.of(self.tokenizer.vocabulary, inventory)


def pretraining(data: PlainTexts, request: Request) -> Prepared:
    """Objectives on texts; an encoder that reads what words may mean is told it first."""
    tokenizer = data.tokenizer()
    lexicons = Lexicons(data, tokenizer)
    more: dict[str, Maker] = {
        MaskedSenses.name: lexicons.masked_senses,
        LexicalRelation.name: lexicons.lexical_relation,
    }
    if data.ngrams is not None:
        more[MaskedTokensAmongNgrams.name] = lexicons.masked_tokens
    objectives = objectives_named(request.objectives, tokenizer.specials, len(tokenizer), hidden=data.hidden, more=more)

    def source(split: str) -> PuzzleSource:
        return PuzzleSource(texts(data.files[split], data, tokenizer), Objectives(objectives))

    def model(system: System) -> Mixture:
        if MaskedSenses.name in objectives:
            system.encoder.embed.text.allow(lexicons.senses)  # type: ignore[union-attr, operator]
        return Mixture(system, objectives, request.objectives)

    sizes = {"vocab_size": len(tokenizer), "num_languages": len(data.languages)}
    return Prepared(
        sources={split: partial(source, split) for split in data.files},
        model=model,
        sizes=sizes if data.ngrams is None else {**sizes, "num_ngrams": len(lexicons.ngrams)},
        heads=heads_of(objectives),
        hashes=data.hashes,
    )


def texts(path: Path, data: PlainTexts, tokenizer: WordPiece) -> TextsOfPictures:
    """The texts of a file between their markers, cut at the longest allowed; blank lines are passed over.

    Raises:
        UserError: no such file, or it holds no text.
    """
    if not path.is_file():
        raise UserError(f"texts were looked for in {path}, but there is no such file")
    lines = [line for _, line in numbered_lines(path) if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no text; it has one a line")
    room = data.longest - 2
    framings = [framed(tokenizer.specials, tokenizer.encode(line).ids[:room]) for line in lines]
    reading = Reading(tokenizer, data.longest, data.languages)
    return TextsOfPictures(reading.pack(framings, _first(data.languages, len(lines))))


def _first(languages: tuple[str, ...], count: int) -> Iterable[str]:
    return languages[:1] * count


def _masking(specials: Specials, vocab_size: int, hidden: float) -> Masking:
    return Masking(specials.mask, (0, vocab_size), specials.never_hidden, choice=Bernoulli(hidden))


def _named(path: Path | None, setting: str, objective: str) -> Path:
    if path is None:
        raise UserError(f"objectives.{objective} reads data.{setting}, which is null; name it")
    return path


PRETRAINING_SUPPLY = Supply(None, PlainTexts, pretraining)
