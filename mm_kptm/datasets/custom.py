"""Custom datasets: JSON lines in one schema per task (``docs/own-data.md``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from mm_kptm.data.formats import jsonl as own
from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.data.formats.tables import TableColumns
from mm_kptm.data.formats.xnli import LABELS
from mm_kptm.datasets.knowledge.lama import cloze
from mm_kptm.datasets.labelled import labelled_files
from mm_kptm.datasets.protocol import DataRequest, FileReader, PreparedData, TaskDataset
from mm_kptm.datasets.settings import CaptionSettings, RegionFiles, RetrievalSettings, SplitFiles, by_split, check_tags
from mm_kptm.datasets.text.mention_datasets import MentionFiles, relation, typing
from mm_kptm.datasets.text.sources import pairs, translated
from mm_kptm.datasets.text.uer_tsv import classification, tagging
from mm_kptm.datasets.vision import sources as image_sources
from mm_kptm.datasets.vision.captioning import Captions
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.systems.system import System
from mm_kptm.tasks.heads import Heads, requested_heads
from mm_kptm.tasks.knowledge.cloze import FillBlanks
from mm_kptm.tasks.knowledge.entity_typing import EntityTyping
from mm_kptm.tasks.knowledge.relation_classification import RelationClassification
from mm_kptm.tasks.metrics.vqa import normalised
from mm_kptm.tasks.text.entailment import Entailment
from mm_kptm.tasks.text.sentence_classification import SentenceClassification
from mm_kptm.tasks.text.sentence_retrieval import (
    ParallelSentences,
    SentenceVectorSettings,
    TranslationSource,
    controls,
)
from mm_kptm.tasks.text.tagging import NamedEntities
from mm_kptm.tasks.vision.captioning import HEAD, ImageCaptioning
from mm_kptm.tasks.vision.grounding import Grounding
from mm_kptm.tasks.vision.retrieval import Retrieval
from mm_kptm.tasks.vision.vqa import VQA, one_answer
from mm_kptm.train.protocol import Source, Trainable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class OwnTexts(SentenceVectorSettings, MentionFiles):
    """Own texts: JSON lines, JSON, CSV, TSV, Parquet or Arrow."""

    name: Literal["custom-text"]
    no_relation: str | None = None  #: the relation that says there is none; micro F1 leaves it out
    candidates: Path | None = None  #: words that may fill a blank, one a line; all of the vocabulary when null
    columns: dict[str, str] = field(default_factory=dict)  #: the column of the files for each key of the schema
    label_names: tuple[str, ...] = ()  #: of the integer labels 0, 1, ...; those of the files when empty


@dataclass(frozen=True, kw_only=True)
class OwnImages(CaptionSettings, RetrievalSettings, RegionFiles):
    """Own texts about images: JSON lines, JSON, CSV, TSV, Parquet or Arrow."""

    name: Literal["custom-image"]
    max_length: int = 60  #: pieces of an example that are read, special ones included
    min_count: int = 1  #: an answer is learnt when it is the usual one of this many questions
    candidate_pool_size: int | None = None  #: images that retrieval searches at a time; all of the split when null
    columns: dict[str, str] = field(default_factory=dict)  #: the column of the files for each key of the schema
    label_names: tuple[str, ...] = ()  #: of the integer answers 0, 1, ...; those of the files when empty

    def __post_init__(self) -> None:
        CaptionSettings.__post_init__(self)
        RetrievalSettings.__post_init__(self)
        RegionFiles.__post_init__(self)


def reader(data: OwnTexts | OwnImages, read: Callable[..., Sequence[T]]) -> Callable[[Path], Sequence[T]]:
    """A reader of files whose columns are called as the settings say."""
    return partial(read, table=TableColumns(data.columns, data.label_names))


def entailment(data: OwnTexts, request: DataRequest) -> PreparedData:
    """Pairs of sentences."""
    return labelled_files(data, request, Entailment, reader(data, own.read_entailment), pairs, LABELS)


def blanks(data: OwnTexts, request: DataRequest) -> PreparedData:
    """Sentences with blanks."""
    return cloze(data, request, reader(data, own.read_cloze), data.candidates)


def sentence_classification(data: OwnTexts, request: DataRequest) -> PreparedData:
    """Sentences, or pairs of them, with a class."""
    return classification(reader(data, own.read_classification))(data, request)


def named_entities(data: OwnTexts, request: DataRequest) -> PreparedData:
    """Words with a tag each."""
    return tagging(reader(data, own.read_named_entities))(data, request)


def entity_typing(data: OwnTexts, request: DataRequest) -> PreparedData:
    """Texts with a mention and its types."""
    return typing(reader(data, own.read_typing))(data, request)


def relation_classification(data: OwnTexts, request: DataRequest) -> PreparedData:
    """Texts with two mentions."""
    none = () if data.no_relation is None else (data.no_relation,)
    return relation(reader(data, own.read_relation), no_relation=none)(data, request)


def parallel_sentences(data: OwnTexts, request: DataRequest) -> PreparedData:
    """Sentences and their translations."""
    encoding = TextEncoding(data.tokenizer(), data.max_length, data.language_ids(request.recipe))
    prepared = _files(
        data,
        reader(data, own.read_parallel),
        lambda examples: translated(examples, encoding),
        model=data.retriever,
        sizes={"vocab_size": len(encoding.tokenizer)},
    )

    def baselines(split: str) -> dict[str, float]:
        return controls(cast("TranslationSource", prepared.sources[split]()))

    return replace(prepared, baselines=baselines)


def vqa(data: OwnImages, request: DataRequest) -> PreparedData:
    """Questions about images."""
    store = data.store(request)
    encoding = image_sources.encoding_of(data, request.recipe)
    answers = _answers(reader(data, own.read_vqa)(data.train), data.min_count)
    return _files(
        data,
        reader(data, own.read_vqa),
        lambda examples: image_sources.questions(examples, answers, encoding, store, tags=data.tags),
        model=lambda system: VQA(system, answers, criterion=one_answer),
        sizes=image_sources.sizes_of(encoding, store),
        heads=VQA.heads(request.recipe, len(answers)),
    )


def retrieval(data: OwnImages, request: DataRequest) -> PreparedData:
    """Images and their captions."""
    check_tags(data.tags, data.ranking)
    store = data.store(request)
    encoding = image_sources.encoding_of(data, request.recipe)
    return _files(
        data,
        reader(data, own.read_retrieval),
        lambda examples: image_sources.captions(
            examples, encoding, store, pool=data.candidate_pool_size, tags=data.tags
        ),
        model=partial(Retrieval, ranking=data.ranking),
        sizes=image_sources.sizes_of(encoding, store),
        heads=requested_heads(request.recipe, Retrieval.HEADS),
    )


def captioning(data: OwnImages, request: DataRequest) -> PreparedData:
    """Images and captions to write."""
    store = data.store(request)
    encoding = image_sources.encoding_of(data, request.recipe)
    captions = Captions(data, encoding, store)
    examples = by_split(data.files, reader(data, own.read_retrieval))
    prepared = _files(
        data,
        reader(data, own.read_retrieval),
        lambda described: captions.source(described, every_caption=False),
        model=captions.model,
        sizes=image_sources.sizes_of(encoding, store),
        heads={HEAD: {}},
    )
    train = partial(captions.source, every_caption=True)
    return replace(prepared, sources={**prepared.sources, "train": lambda: train(examples("train"))})


def grounding(data: OwnImages, request: DataRequest) -> PreparedData:
    """Expressions and the boxes that they mean."""
    store = data.store(request)
    encoding = image_sources.encoding_of(data, request.recipe)
    return _files(
        data,
        reader(data, own.read_grounding),
        lambda examples: image_sources.expressions(examples, encoding, store),
        model=Grounding,
        sizes=image_sources.sizes_of(encoding, store),
        heads=requested_heads(request.recipe, Grounding.HEADS),
    )


def _files(
    data: SplitFiles,
    read: Callable[[Path], Sequence[T]],
    make: Callable[[Sequence[T]], Source[Any]],
    *,
    model: Callable[[System], Trainable[Any]],
    sizes: dict[str, int],
    heads: Heads | None = None,
) -> PreparedData:
    examples = by_split(data.files, read)

    def source(split: str) -> Source[Any]:
        return make(examples(split))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=model,
        sizes=sizes,
        heads=heads or {},
        fingerprints=data.fingerprints,
        read_file=FileReader(read, make),
    )


def _answers(asked: Sequence[AskedImage], min_count: int) -> tuple[str, ...]:
    """The most frequent answers of the training questions, most common first."""
    counts = Counter(normalised(image_sources.usual(one.answers)) for one in asked if one.answers)
    found = sorted((-count, answer) for answer, count in counts.items() if count >= min_count)
    if len(found) < 2:
        raise UserError(
            f"{len(found)} answers are the usual one of {min_count} or more training questions; there must be two at "
            "least to choose from; give more questions or a smaller data.min_count"
        )
    return tuple(answer for _, answer in found)


VQA_SUPPLY = TaskDataset(VQA, OwnImages, vqa, own.read_vqa)
RETRIEVAL_SUPPLY = TaskDataset(Retrieval, OwnImages, retrieval, own.read_retrieval)
CAPTIONING_SUPPLY = TaskDataset(ImageCaptioning, OwnImages, captioning, own.read_retrieval)
GROUNDING_SUPPLY = TaskDataset(Grounding, OwnImages, grounding, own.read_grounding)
ENTAILMENT_SUPPLY = TaskDataset(Entailment, OwnTexts, entailment, own.read_entailment)
CLASSIFICATION_SUPPLY = TaskDataset(SentenceClassification, OwnTexts, sentence_classification, own.read_classification)
NAMES_SUPPLY = TaskDataset(NamedEntities, OwnTexts, named_entities, own.read_named_entities)
CLOZE_SUPPLY = TaskDataset(FillBlanks, OwnTexts, blanks, own.read_cloze)
TYPING_SUPPLY = TaskDataset(EntityTyping, OwnTexts, entity_typing, own.read_typing)
RELATION_SUPPLY = TaskDataset(RelationClassification, OwnTexts, relation_classification, own.read_relation)
SENTENCES_SUPPLY = TaskDataset(ParallelSentences, OwnTexts, parallel_sentences, own.read_parallel)
