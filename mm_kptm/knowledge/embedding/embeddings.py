"""Vectors of the entities and relations of a graph, with their names: what they score, and a folder for them.

A folder holds ``embeddings.safetensors`` (tables ``entities`` and, where there are any, ``relations``), ``index.json``
(their names in the order of the rows) and ``settings.json`` (whose score they were trained for, and how).

Shapes: N entities, R relations, D dim, W real numbers of an entity: D, or 2 D where the vectors are complex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import atomic_folder, write_json
from mm_kptm.io.records import read_json
from mm_kptm.io.tensors import write_tensors
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.embedding.scoring import SCORES, ComplEx, DistMult, RotatE, Scorer, TransE
from mm_kptm.systems.checkpoint_files import read_weights

VECTORS, INDEX, SETTINGS = "embeddings.safetensors", "index.json", "settings.json"

Told = str | int | float | None  #: a value of the settings


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors with names.

    Raises:
        UserError: a table is no list of vectors, or has more or fewer of them than there are names.
    """

    entities: tuple[str, ...]
    entity_vectors: Tensor  #: real or complex, [N, D]
    relations: tuple[str, ...] = ()
    relation_vectors: Tensor | None = None  #: [R, D]; another width where the score is none of ours
    model: str = ""  #: whose score they were trained for, such as ``rotate``; empty where nobody said
    settings: Mapping[str, Told] = field(default_factory=dict)  #: of their training

    def __post_init__(self) -> None:
        _check("entities", self.entities, self.entity_vectors)
        if self.relation_vectors is not None:
            _check("relations", self.relations, self.relation_vectors)

    def __len__(self) -> int:
        return len(self.entities)

    @property
    def width(self) -> int:
        """W."""
        return int(self.entity_vectors.shape[1]) * (2 if self.entity_vectors.is_complex() else 1)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The row of every entity by its name."""
        return {name: number for number, name in enumerate(self.entities)}

    def number_of(self, name: str) -> int:
        """The row of an entity.

        Raises:
            UserError: it has no vector; the nearest name is told.
        """
        if name not in self.numbers:
            alike = [other for other in self.entities if other[:1].lower() == name[:1].lower()]
            hint = nearest(name, alike, otherwise="")
            raise UserError(f"there are vectors of {len(self)} entities, but none of {name!r}{hint}")
        return self.numbers[name]

    def table(self) -> EntityTable:
        """The entities for fusion: real vectors, of a complex number its real and its imaginary part, [N, W]."""
        vectors = self.entity_vectors
        real = torch.view_as_real(vectors.resolve_conj()).flatten(1) if vectors.is_complex() else vectors
        return EntityTable(self.numbers, real.float())

    def among(self, entities: Sequence[str], relations: Sequence[str]) -> Embeddings:
        """The vectors of these names, in their order.

        Raises:
            UserError: a name has no vector.
        """
        if self.relation_vectors is None:
            raise UserError("triples were to be scored, but there are vectors of entities alone; load relations, too")
        vectors = self.entity_vectors[_rows("entities", self.entities, entities)]
        steps = self.relation_vectors[_rows("relations", self.relations, relations)]
        return Embeddings(tuple(entities), vectors, tuple(relations), steps, self.model, self.settings)

    def score(self) -> Scorer:
        """The published score that the vectors were trained for.

        Raises:
            UserError: there are no vectors of relations, or the score is none of ours.
        """
        if self.relation_vectors is None:
            raise UserError("triples were to be scored, but there are vectors of entities alone; load relations, too")
        if self.model not in SCORES:
            raise UserError(
                f"the vectors were trained for {self.model or 'an unknown score'}, and can be ranked with "
                f"{', '.join(SCORES)}; name one of them as the model if it is the right one"
            )
        return scorer(self.model, self.entity_vectors, self.relation_vectors, norm=int(self.settings.get("norm") or 1))


def scorer(model: str, entities: Tensor, relations: Tensor, *, norm: int = 1) -> TransE | DistMult | ComplEx | RotatE:
    """The score of that name over two tables; ``norm`` is that of TransE's distance."""
    kind = SCORES[model]
    return TransE(entities, relations, norm=norm) if issubclass(kind, TransE) else kind(entities, relations)


def save_embeddings(embeddings: Embeddings, folder: str | Path) -> None:
    """Write a folder, which appears whole or not at all.

    Raises:
        UserError: there is such a folder or file already, or it cannot be written.
    """
    tables = {"entities": embeddings.entity_vectors, "relations": embeddings.relation_vectors}
    index = {"entities": embeddings.entities, "relations": embeddings.relations}
    with atomic_folder(folder) as temporary:
        write_tensors(
            temporary / VECTORS,
            {name: table.detach().cpu().contiguous() for name, table in tables.items() if table is not None},
        )
        write_json(temporary / INDEX, index, indent=1)
        write_json(temporary / SETTINGS, {"model": embeddings.model, **embeddings.settings}, indent=1)


def load_embeddings(folder: str | Path) -> Embeddings:
    """What :func:`save_embeddings` wrote.

    Raises:
        UserError: a file is missing or torn, or the names and the vectors are not equally many.
    """
    folder = Path(folder)
    index, settings = (_read(folder / name) for name in (INDEX, SETTINGS))
    tables = read_weights(folder / VECTORS)
    if "entities" not in tables:
        raise UserError(f"{folder / VECTORS} has no table of entities; it has {', '.join(sorted(tables)) or 'none'}")
    try:
        return Embeddings(
            tuple(index["entities"]),
            tables["entities"],
            tuple(index["relations"]),
            tables.get("relations"),
            model=str(settings.pop("model")),
            settings=settings,
        )
    except KeyError as error:
        raise UserError(f"{folder} lacks {error} in {INDEX} or {SETTINGS}; save the embeddings again") from None
    except UserError as error:
        raise UserError(f"{folder} does not fit together: {error}") from None


def _rows(kind: str, known: Sequence[str], names: Sequence[str]) -> Tensor:
    numbers = {name: number for number, name in enumerate(known)}
    lacking = [name for name in names if name not in numbers]
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(names)} {kind} of the graph have no vector, such as {lacking[0]}; train vectors "
            "on this graph, or leave its triples out"
        )
    return torch.tensor([numbers[name] for name in names], dtype=torch.long)


def _check(kind: str, names: Sequence[str], vectors: Tensor) -> None:
    if vectors.dim() != 2 or not (vectors.is_floating_point() or vectors.is_complex()):
        raise UserError(f"the {kind} have a table of {vectors.dtype} {list(vectors.shape)}, not one vector a row")
    if len(vectors) != len(names):
        raise UserError(f"there are {len(names)} names of {kind}, but {len(vectors)} vectors")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.parent} is no folder of embeddings: it has no {path.name}")
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no keys and values; save the embeddings again")
    return found
