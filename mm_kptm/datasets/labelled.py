"""Labelling tasks on files of labelled texts, for any format with a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from mm_kptm.datasets.code_switched import CodeSwitchedSource
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings, counterfactual_splits
from mm_kptm.datasets.protocol import DataRequest, FileReader, PreparedData
from mm_kptm.datasets.relations_alone import RELATIONS_ALONE, by_shape
from mm_kptm.datasets.settings import by_split
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.embedding.formats import open_embeddings
from mm_kptm.knowledge.fusion.entity_embedding import with_facts
from mm_kptm.knowledge.kinds.protocol import BRANCHES, ENTITIES
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.systems.system import System
from mm_kptm.tasks.labelling import LabelledSource, Labelling
from mm_kptm.train.protocol import Trainable

T = TypeVar("T")
Make = Callable[[Sequence[T], Sequence[str], TextEncoding], LabelledSource]


def labelled_files(
    data: KnowledgeFileSettings,
    request: DataRequest,
    task: type[Labelling],
    read: Callable[[Path], Sequence[T]],
    make: Make[T],
    labels: Sequence[str] | Callable[[Sequence[T]], Sequence[str]],
    *,
    encoding: TextEncoding | None = None,
    oracle: bool = False,
    **choices: Any,
) -> PreparedData:
    """A labelling task on files.

    Args:
        data: the settings: a file per split, the vocabulary, perhaps a graph.
        request: the encoder, and the form and kind of the facts to inject.
        task: builds the head and the losses.
        read: the examples of one file.
        make: a source of examples with the given labels.
        labels: to choose from, or how they are found among the training examples.
        encoding: how text becomes ids, with its injected facts; by the settings unless given.
        oracle: whether the examples say which fact they need.
        choices: of the task, beside its labels.
    """
    if encoding is None:
        encoding = data.text_encoding(request, oracle=oracle)
    splits = counterfactual_splits(data.files, request, oracle=oracle)
    # the shapes of facts ask for them again; of other data, a source keeps what it needs
    examples = by_split(data.files, read, kept=("train",) if encoding.injector is None else None)
    chosen = tuple(labels(examples("train")) if callable(labels) else labels)
    marks = encoding.markers is not None

    @cache
    def source(split: str) -> LabelledSource | CodeSwitchedSource:
        file, facts = splits[split]

        def encoded(some: Sequence[T]) -> LabelledSource:
            return make(some, chosen, replace(encoding, facts=facts))

        if split == "train" and data.code_switching is not None:
            return CodeSwitchedSource(examples(file), encoded, data.code_switching)
        return encoded(examples(file))

    @cache
    def shapes(file: str) -> tuple[list[tuple[str, ...]], list[str]]:
        """Which relations the facts of every labelled text have, whatever they say, and its gold label."""
        collected: list[tuple[str, ...]] = []
        about = make(examples(file), chosen, replace(encoding, facts="none", shapes=collected)).about
        known = [(shape, one.target) for shape, one in zip(collected, about, strict=True) if one.is_labelled]
        return [shape for shape, _ in known], [target for _, target in known]

    def gold(split: str) -> list[str]:
        return [one.target for one in source(split).about if one.is_labelled]

    def baselines(split: str) -> Mapping[str, float]:
        answers, targets = gold("train"), gold(split)
        if not targets or not answers:
            return {}
        usual = Counter(answers).most_common(1)[0][0]
        scores = {"majority": targets.count(usual) / len(targets)}
        if encoding.injector is not None:
            (seen, answers), (asked, targets) = shapes("train"), shapes(splits[split][0])
            given = by_shape(seen, answers, asked)
            scores[RELATIONS_ALONE] = sum(map(str.__eq__, given, targets)) / len(targets)
        return scores

    def model(system: System) -> Trainable[Any]:
        return task(system, chosen, marks=marks, **choices)

    entities = {} if encoding.table is None else {"entity_dim": encoding.table.vectors.shape[1]}
    return PreparedData(
        sources={split: partial(source, split) for split in splits},
        model=model,
        sizes={"vocab_size": len(encoding.tokenizer), "num_languages": max(len(encoding.languages), 1), **entities},
        heads=task.heads(request.recipe, len(chosen), marks=marks),
        fingerprints=data.fingerprints
        if encoding.table is None
        else {**data.fingerprints, "vectors": encoding.table.hash},
        baselines=baselines,
        knowledge_forms=frozenset(
            {BRANCHES} if encoding.injector is not None else {ENTITIES} if encoding.table is not None else ()
        ),
        vectors=None if encoding.table is None else encoding.table.vectors,
        encoding=encoding,
        read_file=FileReader(read, lambda some: make(some, chosen, encoding)),
    )


def linked(folder: Path | None, request: DataRequest, *, seed: int = 0) -> EntityTable | None:
    """The vectors of entities, if any are given: those of ``knowledge.vectors`` first.

    Raises:
        UserError: the recipe reads none, they were to be fused but are not there, or they cannot be read.
    """
    if request.knowledge is not None and request.form == ENTITIES:
        folder = request.vectors or folder
        if folder is None:
            raise UserError(
                f"knowledge.kind is {request.knowledge.name}, but knowledge.vectors is null; name a folder of entity "
                "vectors"
            )
        return with_facts(open_embeddings(folder).table(), request.facts, seed=seed)
    if folder is None:
        return None
    if "entities" not in request.recipe.reads:
        raise UserError(f"data.entities is {folder}, but {request.recipe.name} reads no entities; leave it null")
    return open_embeddings(folder).table()


def names_of(labels_of: Callable[[T], Sequence[str]], what: str) -> Callable[[Sequence[T]], tuple[str, ...]]:
    """A function that collects the labels of the training examples, in alphabetical order.

    The function raises ``UserError`` where there are fewer than two.
    """

    def found(examples: Sequence[T]) -> tuple[str, ...]:
        names = sorted({name for one in examples for name in labels_of(one)})
        if len(names) < 2:
            raise UserError(
                f"the training examples have {len(names)} {what}; there must be two at least to choose from"
            )
        return tuple(names)

    return found
