"""Open Entity, FIGER, TACRED and FewRel: the published files, with or without linked entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mm_kptm.data.formats.mentions import (
    RelatedMentions,
    TypedMention,
    read_fewrel,
    read_figer,
    read_open_entity,
    read_tacred,
)
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings
from mm_kptm.datasets.labelled import labelled_files, linked, names_of
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.text.sources import related, typed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.marker_tokens import MARKINGS, marker_tokenizer
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.text_format import MarkerTokens
from mm_kptm.tasks.knowledge.entity_typing import EntityTyping
from mm_kptm.tasks.knowledge.relation_classification import RelationClassification
from mm_kptm.tasks.labelling import Labelling

NO_RELATION = ("no_relation", "NA")  #: as TACRED calls it, and ERNIE's form of it


@dataclass(frozen=True, kw_only=True)
class MentionFiles(KnowledgeFileSettings):
    """One file a split, with mentions that a linker may have found entities for."""

    max_length: int = 256  #: pieces of an example that are read, special ones included
    entities: Path | None = None  #: a folder of entity vectors, for encoders that read entities
    threshold: float = 0.3  #: entities that the linker is less sure of are left out
    markers: Literal["ernie", "k-adapter", "kepler"] | None = None
    """What stands around mentions, and whether the states there are read; as fits the encoder when null."""

    def linked(self, request: DataRequest, task: type[Labelling]) -> TextEncoding:
        """Text encoding with mention markers of a task, and entities or injected facts."""
        encoding, table = self.text_encoding(request, oracle=True), linked(self.entities, request, seed=self.seed)
        if table is not None and encoding.injector is not None:
            raise UserError(
                f"data.entities is {self.entities} and knowledge.kind is {getattr(request.knowledge, 'name', 'none')}, "
                "but a text carries either vectors of entities or facts; leave one of them out"
            )
        marks = self._markers(request.recipe, as_ernie=table is not None).get(task.name)
        if marks is not None and table is not None:
            raise UserError(
                f"vectors of entities stand beside texts that are marked as ERNIE's, but data.markers is "
                f"{self.markers}; "
                "let it be ernie, or leave the vectors out"
            )
        if marks is not None:
            encoding = replace(encoding, tokenizer=marker_tokenizer(encoding.tokenizer, marks), markers=marks)
        return replace(encoding, table=table, threshold=self.threshold)

    def _markers(self, recipe: Recipe, *, as_ernie: bool) -> Mapping[str, MarkerTokens]:
        """The marker tokens by task: those of `markers`, else those of the family; ERNIE's signs are text and none."""
        if self.markers is not None:
            return MARKINGS.get(self.markers, {})
        return {} if as_ernie else recipe.text.markers


@dataclass(frozen=True, kw_only=True)
class OpenEntityData(MentionFiles):
    """Open Entity's files (Choi et al. 2018), or ERNIE's form of them."""

    name: Literal["open-entity"]


@dataclass(frozen=True, kw_only=True)
class FigerData(MentionFiles):
    """FIGER's files (Ling and Weld 2012), or ERNIE's form of them."""

    name: Literal["figer"]


@dataclass(frozen=True, kw_only=True)
class TacredData(MentionFiles):
    """TACRED's files (Zhang et al. 2017), or ERNIE's form of them."""

    name: Literal["tacred"]
    threshold: float = 0.4  #: entities that the linker is less sure of are left out


@dataclass(frozen=True, kw_only=True)
class FewRelData(MentionFiles):
    """FewRel's files (Han et al. 2018), or ERNIE's form of them; trained and tested on the same relations."""

    name: Literal["fewrel"]


def typing(
    read: Callable[[Path], Sequence[TypedMention]], **choices: Any
) -> Callable[[Any, DataRequest], PreparedData]:
    """Entity typing on files that ``read`` reads."""

    def prepare(data: MentionFiles, request: DataRequest) -> PreparedData:
        labels, linked = names_of(_types, "types"), data.linked(request, EntityTyping)
        return labelled_files(data, request, EntityTyping, read, typed, labels, encoding=linked, oracle=True, **choices)

    return prepare


def relation(
    read: Callable[[Path], Sequence[RelatedMentions]], **choices: Any
) -> Callable[[Any, DataRequest], PreparedData]:
    """Relation classification on files that ``read`` reads."""

    def prepare(data: MentionFiles, request: DataRequest) -> PreparedData:
        labels, linked = names_of(_relations, "relations"), data.linked(request, RelationClassification)
        return labelled_files(
            data, request, RelationClassification, read, related, labels, encoding=linked, oracle=True, **choices
        )

    return prepare


def _types(one: TypedMention) -> Sequence[str]:
    return one.types or ()


def _relations(one: RelatedMentions) -> Sequence[str]:
    return () if one.relation is None else (one.relation,)


OPEN_ENTITY_SUPPLY = TaskDataset(EntityTyping, OpenEntityData, typing(read_open_entity), read_open_entity)
FIGER_SUPPLY = TaskDataset(EntityTyping, FigerData, typing(read_figer, best_too=True), read_figer)
TACRED_SUPPLY = TaskDataset(
    RelationClassification, TacredData, relation(read_tacred, no_relation=NO_RELATION), read_tacred
)
FEWREL_SUPPLY = TaskDataset(RelationClassification, FewRelData, relation(read_fewrel), read_fewrel)
