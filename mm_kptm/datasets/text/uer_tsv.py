"""K-BERT's tables: sentence classification and named entity tagging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mm_kptm.data.formats.uer_tsv import ClassifiedText, Tagged, read_classified, read_tagged
from mm_kptm.datasets.code_switched import CodeSwitchedSource
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings, counterfactual_splits
from mm_kptm.datasets.labelled import labelled_files
from mm_kptm.datasets.protocol import DataRequest, FileReader, PreparedData, TaskDataset
from mm_kptm.datasets.relations_alone import RELATIONS_ALONE, by_shape, word_shapes
from mm_kptm.datasets.settings import by_split
from mm_kptm.datasets.text.sources import classified, tagged
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_text
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.tasks.metrics.tagging import OUTSIDE
from mm_kptm.tasks.text.sentence_classification import SentenceClassification
from mm_kptm.tasks.text.tagging import BLANK, NamedEntities, TaggedSource
from mm_kptm.train.protocol import Source


@dataclass(frozen=True, kw_only=True)
class KbertData(KnowledgeFileSettings):
    """K-BERT's tables (Liu et al. 2020), a header and cells between tabs."""

    name: Literal["kbert-tsv"]
    max_length: int = 256  #: pieces of an example that are read, special ones and facts included
    language: str = "zh"  #: of the texts


def classification(read: Callable[[Path], Sequence[ClassifiedText]]) -> Callable[[Any, DataRequest], PreparedData]:
    """Classes of sentences on files that ``read`` reads."""

    def prepare(data: KnowledgeFileSettings, request: DataRequest) -> PreparedData:
        return labelled_files(data, request, SentenceClassification, read, classified, _classes)

    return prepare


def tagging(read: Callable[[Path], Sequence[Tagged]]) -> Callable[[Any, DataRequest], PreparedData]:
    """Names among words on files that ``read`` reads."""

    def prepare(data: KnowledgeFileSettings, request: DataRequest) -> PreparedData:
        encoding, examples = data.text_encoding(request, object_alone=True, words=True), by_split(data.files, read)
        tags = _tags(examples("train"))
        splits = counterfactual_splits(data.files, request, oracle=False)

        def source(split: str) -> Source[Any]:
            file, facts = splits[split]

            def encoded(some: Sequence[Tagged]) -> TaggedSource:
                return tagged(some, tags, replace(encoding, facts=facts))

            if split == "train" and data.code_switching is not None:
                return CodeSwitchedSource(examples(file), encoded, data.code_switching)
            return encoded(examples(file))

        def baselines(split: str) -> Mapping[str, float]:
            asked = examples(splits[split][0])
            gold = [tag for one in asked for tag in one.tags or ()]
            scores = {"no-names": gold.count(OUTSIDE) / len(gold)} if gold else {}
            if gold and encoding.injector is not None:
                seen, answers = zip(*word_shapes(examples("train"), encoding.injector), strict=True)
                given = by_shape(seen, answers, [shape for shape, _ in word_shapes(asked, encoding.injector)])
                scores[RELATIONS_ALONE] = sum(map(str.__eq__, given, gold)) / len(gold)
            return scores

        return PreparedData(
            sources={split: partial(source, split) for split in splits},
            model=lambda system: NamedEntities(system, tags),
            sizes={"vocab_size": len(encoding.tokenizer), "num_languages": max(len(encoding.languages), 1)},
            heads=NamedEntities.heads(request.recipe, len(tags), facts=encoding.injector is not None),
            fingerprints=data.fingerprints,
            baselines=baselines,
            knowledge_forms=frozenset() if encoding.injector is None else frozenset({BRANCHES}),
            encoding=encoding,
            read_file=FileReader(read, lambda some: tagged(some, tags, encoding)),
        )

    return prepare


def _classes(examples: Sequence[ClassifiedText]) -> tuple[str, ...]:
    """The classes of the training examples: numbers by size, otherwise in alphabetical order."""
    found = {one.label for one in examples if one.label is not None}
    if len(found) < 2:
        raise UserError(f"the training examples have {len(found)} classes; there must be two at least to choose from")
    return tuple(sorted(found, key=lambda label: (int(label) if label.isdecimal() else -1, label)))


def _tags(examples: Sequence[Tagged]) -> tuple[str, ...]:
    """The tags of the training examples in the order in which they are met, as K-BERT numbers them."""
    found = tuple(dict.fromkeys(tag for one in examples for tag in one.tags or ()))
    if len(found) < 2:
        raise UserError(f"the training examples have {len(found)} tags; there must be two at least to choose from")
    return found


def kbert_classification(data: KbertData, request: DataRequest) -> PreparedData:
    """Classes of sentences or pairs."""
    return classification(partial(read_classified, language=data.language))(data, request)


def kbert_tagging(data: KbertData, request: DataRequest) -> PreparedData:
    """Names among words, and the tables that K-BERT's scripts read."""
    prepared = tagging(partial(read_tagged, language=data.language))(data, request)

    def submit(split: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
        asked = read_tagged(data.files[counterfactual_splits(data.files, request, oracle=False)[split][0]])
        path = folder / f"{split}.tsv"
        lines = [f"{BLANK.join(one.words)}\t{row['answer']}\n" for one, row in zip(asked, rows, strict=True)]
        write_text(path, "text_a\tlabel\n" + "".join(lines))
        read_tagged(path)
        return [path]

    return replace(prepared, submit=submit)


CLASSIFICATION_SUPPLY = TaskDataset(SentenceClassification, KbertData, kbert_classification, read_classified)
TAGGING_SUPPLY = TaskDataset(NamedEntities, KbertData, kbert_tagging, read_tagged)
