"""How files of labelled texts feed a task: the same for every format, once its reader has read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings, counterfactual_splits
from mm_kptm.datasets.protocol import DataRequest, PreparedData
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
    reading: TextEncoding | None = None,
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
        reading: how text becomes ids, with its injected facts; by the settings unless given.
        oracle: whether the examples say which fact they need.
        choices: of the task, beside its labels.
    """
    if reading is None:
        reading = data.text_encoding(request, oracle=oracle)
    splits = counterfactual_splits(data.files, request, oracle=oracle)
    examples = by_split(data.files, read)
    chosen = tuple(labels(examples("train")) if callable(labels) else labels)
    marks = reading.markers is not None

    def source(split: str) -> LabelledSource:
        file, facts = splits[split]
        return make(examples(file), chosen, replace(reading, facts=facts))

    def majority(split: str) -> Mapping[str, float]:
        usual = Counter(about.target for about in source("train").about if about.is_labelled).most_common(1)[0][0]
        targets = [about.target for about in source(split).about if about.is_labelled]
        return {"majority": targets.count(usual) / len(targets)} if targets else {}

    def model(system: System) -> Trainable[Any]:
        return task(system, chosen, marks=marks, **choices)

    entities = {} if reading.table is None else {"entity_dim": reading.table.vectors.shape[1]}
    return PreparedData(
        sources={split: partial(source, split) for split in splits},
        model=model,
        sizes={"vocab_size": len(reading.tokenizer), "num_languages": max(len(reading.languages), 1), **entities},
        heads=task.heads(request.recipe, len(chosen), marks=marks),
        fingerprints=data.fingerprints
        if reading.table is None
        else {**data.fingerprints, "vectors": reading.table.hash},
        baselines=majority,
        knowledge_forms=frozenset(
            {BRANCHES} if reading.injector is not None else {ENTITIES} if reading.table is not None else ()
        ),
        vectors=None if reading.table is None else reading.table.vectors,
        read_file=lambda path: make(read(path), chosen, reading),
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


def names_of(told: Callable[[T], Sequence[str]], what: str) -> Callable[[Sequence[T]], tuple[str, ...]]:
    """How labels are found: all that the training examples have, in alphabetical order.

    The function it makes raises ``UserError`` where there are fewer than two.
    """

    def found(examples: Sequence[T]) -> tuple[str, ...]:
        names = sorted({name for one in examples for name in told(one)})
        if len(names) < 2:
            raise UserError(
                f"the training examples have {len(names)} {what}; there must be two at least to choose from"
            )
        return tuple(names)

    return found
