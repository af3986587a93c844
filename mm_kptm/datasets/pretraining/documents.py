"""Plain documents as pretraining data, in the form that each text objective needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.batch import Inputs
from mm_kptm.data.formats.documents import read_labelled_pairs, read_sentences
from mm_kptm.data.masking.units import joins
from mm_kptm.data.token_store import stored, tokenized
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.pretraining.document_sources import Distances, NextSentences, labelled_pairs, segments
from mm_kptm.datasets.pretraining.knowledge_beside import KNOWLEDGE_REMEDIES, KnowledgeBeside, KnowledgeFiles
from mm_kptm.datasets.pretraining.lexicons import REMEDIES, Lexicons, wordnet_files
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles, check_mask_rate, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import read_text
from mm_kptm.knowledge.linking.mention_index import MentionIndex
from mm_kptm.knowledge.objectives.entity_denoising import EntityDenoising
from mm_kptm.knowledge.objectives.masked_ngrams import MaskedTokensAmongNgrams
from mm_kptm.objectives.continual import ForTask
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.order import NextSentence
from mm_kptm.objectives.order import labelled_pairs as labelled
from mm_kptm.objectives.spec import DOCUMENTS, LANGUAGE_IDS, TEXTS, ObjectiveContext, Offers
from mm_kptm.objectives.tokens import MaskedTokens, Masking, WholeUnitCount
from mm_kptm.preprocessing.tokenized_documents import SentenceTokenizer, TokenizedDocuments, found_phrases
from mm_kptm.systems.system import System
from mm_kptm.tasks.pretraining import SourcesOfObjectives, heads_of
from mm_kptm.train.protocol import Source

LABELLED = ("discourse-relation", "ir-relevance")  #: objectives on labelled pairs in files of their own
DOCUMENT_WORDS = "document-words"
OF_PAIRS = ("sentence-order",)  #: objectives that always read two segments


@dataclass(frozen=True, kw_only=True)
class Documents(SplitFiles):
    """A sentence a line, a blank line between documents; or folders that `datasets` saved, a document a row."""

    name: Literal["documents"]
    max_length: int = 512  #: pieces of an example that are read, special ones included
    num_segments: Literal[1, 2] = 1  #: segments of an example; BERT and MacBERT have two, SpanBERT and RoBERTa one
    token_store: Path | None = None
    """A folder for the tokenized text, built on first use, which all processes map; null: in memory of each."""
    mask_rate: float = 0.15  #: the share of tokens that is masked
    words_are_space_separated: bool = False
    """Whether words are what blanks part, as in Chinese that a segmenter cut; always where no piece begins with ##, as
    RoBERTa's."""
    phrases: Path | None = None  #: phrases and names of entities, one a line, which are masked as wholes
    similar: Path | None = None  #: a word and words similar to it a line, between tabs, for masked-similar-words
    wordnet: Path | None = None  #: folder of WordNet's files, for masked-senses and lexical-relation
    vectors: Path | None = None  #: a word and its numbers a line, for lexical-relation
    ngrams: Path | None = None  #: an n-gram, a comma and its count a line; masked tokens stand among them, for ZEN
    pairs: dict[str, Path] = field(default_factory=dict)  #: two texts and a label a line, by objective
    dev_pairs: dict[str, Path] = field(default_factory=dict)  #: the same for dev
    knowledge: KnowledgeFiles = field(default_factory=KnowledgeFiles)
    """Linked texts and triples, for entity-denoising and knowledge-embedding."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_rate(self.mask_rate)
        for given in (self.pairs, self.dev_pairs):
            if strange := set(given) - set(LABELLED):
                raise UserError(f"data.pairs are of {', '.join(LABELLED)}, not of {min(strange)}")

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        files = {"phrases": self.phrases, "similar": self.similar, **self.pairs}
        files |= {f"held {name}": path for name, path in self.dev_pairs.items()}
        files |= {"vectors": self.vectors, "ngrams": self.ngrams, **wordnet_files(self.wordnet)}
        files |= self.knowledge.files
        return {
            **super().fingerprints,
            **fingerprints({name: path for name, path in files.items() if path is not None}),
        }


def pretraining(data: Documents, request: DataRequest) -> PreparedData:
    """Documents, with the lexicons and knowledge files that objectives need; each objective has its own source."""
    tokenizer = data.tokenizer()
    specials = replace(tokenizer.specials, between=1)  # parts that sentence-order swaps end alike
    lexicons = Lexicons(tokenizer, data.wordnet, data.vectors, data.ngrams, data.similar)
    beside = KnowledgeBeside(data.knowledge, tokenizer, data.max_length, data.token_store, data.tokenization)
    named = request.built_objectives(_offers(data, lexicons, beside), tokenizer, data.mask_rate)
    objectives = {name: ForTask(objective, task) for task, (name, objective) in enumerate(named.items())}

    @cache
    def sentences(split: str) -> TokenizedDocuments:
        return _tokenized(data, tokenizer, split)

    def inputs(split: str, name: str) -> Source[Inputs] | None:
        if name in LABELLED:
            path = {"train": data.pairs, "dev": data.dev_pairs}.get(split, {}).get(name)
            return None if path is None else labelled_pairs(path, name, _labels(data, name), tokenizer, data.max_length)
        if name == "sentence-distance":
            return Distances.of(sentences(split), specials, data.max_length)
        if name == NextSentence.name:
            return NextSentences.of(sentences(split), tokenizer.specials, data.max_length)
        if name == EntityDenoising.name:
            return beside.linked_texts(split)
        parts = 2 if name in OF_PAIRS else data.num_segments
        words = name == DOCUMENT_WORDS
        texts = segments(sentences(split), specials, data.max_length, parts, document_words=words)
        if words and not texts.has_document_words:
            raise UserError(
                f"document-words looks for words in other segments of their document, but each of {data.files[split]} "
                f"has one of {data.max_length} pieces; give longer documents or a smaller data.max_length"
            )
        return texts

    def source(split: str) -> SourcesOfObjectives:
        found = {name: one for name in objectives if (one := inputs(split, name)) is not None}
        return SourcesOfObjectives(found, {name: objectives[name] for name in found})

    def model(system: System) -> Mixture:
        lexicons.inform(system, objectives)
        return Mixture(system, objectives, request.objectives)

    sizes = {"vocab_size": len(tokenizer), "num_tasks": len(objectives), **beside.sizes}
    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=model,
        sizes=sizes if lexicons.known_ngrams is None else {**sizes, "num_ngrams": len(lexicons.known_ngrams)},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


def _offers(data: Documents, lexicons: Lexicons, beside: KnowledgeBeside) -> Offers:
    def masked_tokens(context: ObjectiveContext) -> MaskedTokens:
        masking = Masking.of(context, WholeUnitCount(context.mask_rate, at_most=data.max_length))
        ngrams = lexicons.known_ngrams
        return MaskedTokens(masking) if ngrams is None else MaskedTokensAmongNgrams(masking, ngrams)

    pairs = {labelled(name): partial(_labels, data, name) for name in data.pairs}
    return Offers(
        "documents",
        {TEXTS: None, DOCUMENTS: None, **pairs, **lexicons.has, **beside.has},
        {
            **{labelled(name): f"name their file as data.pairs.{name}" for name in LABELLED},
            LANGUAGE_IDS: "name its files by language in the data set multilingual-text",
            **REMEDIES,
            **KNOWLEDGE_REMEDIES,
        },
        {"masked-tokens": masked_tokens},
    )


def _labels(data: Documents, name: str) -> tuple[str, ...]:
    """The labels of training pairs, in alphabetical order."""
    labels = tuple(sorted({pair.label for pair in read_labelled_pairs(data.pairs[name])}))
    if len(labels) < 2:
        raise UserError(f"{data.pairs[name]} has one label, {labels[0]!r}; there must be at least two")
    return labels


def _tokenized(data: Documents, tokenizer: Tokenizer, split: str) -> TokenizedDocuments:
    """The documents of a split, out of the token store of the data if it has one."""
    blanks = data.words_are_space_separated or not joins(tokenizer.vocabulary)
    names = None
    if data.phrases is not None:
        names = MentionIndex([line.strip() for line in read_text(data.phrases, "a phrase a line").split("\n")])
    tokenize = SentenceTokenizer(tokenizer, blanks, None if names is None else partial(found_phrases, names))
    items = partial(read_sentences, data.files[split])
    if data.token_store is None:
        return TokenizedDocuments.read(tokenized(items(), tokenize))
    files = {split: data.files[split], **({} if data.phrases is None else {"phrases": data.phrases})}
    source = {**data.tokenization, **fingerprints(files), "words_are_space_separated": blanks}
    return TokenizedDocuments.read(stored(data.token_store / split, items, tokenize, source=source))


PRETRAINING_SUPPLY = TaskDataset(None, Documents, pretraining)
