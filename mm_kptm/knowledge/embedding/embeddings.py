"""Entity and relation embeddings with names: scoring, saving and loading.

A folder has ``embeddings.safetensors`` (tables ``entities`` and, where there are any, ``relations``), ``index.json``
(names in row order) and ``settings.json`` (the scoring function and the training settings).

Shapes: N entities, R relations, D dim, W real values per entity: D, or 2 D for complex vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.errors import UserError, nearest
from mm_kptm.io import manifest
from mm_kptm.io.atomic import atomic_folder, write_json
from mm_kptm.io.records import Record, read_json
from mm_kptm.io.tensors import write_tensors
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.embedding.scoring import SCORES, ComplEx, DistMult, RotatE, TransE
from mm_kptm.systems.checkpoint_files import read_weights

VECTORS, INDEX, SETTINGS = "embeddings.safetensors", "index.json", "settings.json"

SettingValue = str | int | float | None  #: a value of the settings


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Named vectors of entities and relations.

    Raises:
        UserError: a table is not one vector per row, or has more or fewer vectors than names.
    """

    entities: tuple[str, ...]
    entity_vectors: Tensor  #: real or complex, [N, D]
    relations: tuple[str, ...] = ()
    relation_vectors: Tensor | None = None  #: [R, D]; another width where the score is not one of ours
    model: str = ""  #: scoring function that they were trained for, such as ``rotate``; empty if unknown
    settings: Mapping[str, SettingValue] = field(default_factory=dict)  #: training settings

    def __post_init__(self) -> None:
        _check("entities", self.entities, self.entity_vectors)
        if self.relation_vectors is not None:
            _check("relations", self.relations, self.relation_vectors)

    def __len__(self) -> int:
        return len(self.entities)

    @property
    def width(self) -> int:
        """Real values per entity, W."""
        return int(self.entity_vectors.shape[1]) * (2 if self.entity_vectors.is_complex() else 1)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Row of every entity by its name."""
        return {name: number for number, name in enumerate(self.entities)}

    def number_of(self, name: str) -> int:
        """Row of an entity.

        Raises:
            UserError: it has no vector; the message suggests the nearest name.
        """
        if name not in self.numbers:
            alike = [other for other in self.entities if other[:1].lower() == name[:1].lower()]
            hint = nearest(name, alike, otherwise="")
            raise UserError(f"there are vectors of {len(self)} entities, but none of {name!r}{hint}")
        return self.numbers[name]

    def table(self) -> EntityTable:
        """Entity table for fusion: real vectors; a complex value becomes its real and imaginary part, [N, W]."""
        vectors = self.entity_vectors
        real = torch.view_as_real(vectors.resolve_conj()).flatten(1) if vectors.is_complex() else vectors
        return EntityTable(self.numbers, real.float())

    def among(self, entities: Sequence[str], relations: Sequence[str]) -> Embeddings:
        """Embeddings restricted to these names, in their order.

        Raises:
            UserError: a name has no vector.
        """
        if self.relation_vectors is None:
            raise UserError("triples were to be scored, but there are vectors of entities alone; load relations, too")
        vectors = self.entity_vectors[_rows("entities", self.entities, entities)]
        steps = self.relation_vectors[_rows("relations", self.relations, relations)]
        return Embeddings(tuple(entities), vectors, tuple(relations), steps, self.model, self.settings)

    def score(self) -> TransE | DistMult | ComplEx | RotatE:
        """Scoring function that the vectors were trained for.

        Raises:
            UserError: there are no relation vectors, or the score is not one of ours.
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
    """Scoring function by name over two tables; ``norm`` is the norm of TransE's distance."""
    kind = SCORES[model]
    return TransE(entities, relations, norm=norm) if issubclass(kind, TransE) else kind(entities, relations)


def save_embeddings(embeddings: Embeddings, folder: str | Path) -> None:
    """Save embeddings to a folder, atomically.

    Raises:
        UserError: the path exists already, or it cannot be written.
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
        manifest.seal(temporary)


def load_embeddings(folder: str | Path) -> Embeddings:
    """Load embeddings saved by :func:`save_embeddings`.

    Raises:
        UserError: a file is missing or damaged, or there are not as many names as vectors.
    """
    folder = Path(folder)
    if (folder / manifest.MANIFEST).exists():
        way_out = "train or convert the embeddings again"
        manifest.verify(folder, required=(VECTORS, INDEX, SETTINGS), way_out=way_out, every_file=False)
    index, settings = (_read(folder / name) for name in (INDEX, SETTINGS))
    tables = read_weights(folder / VECTORS)
    if "entities" not in tables:
        raise UserError(f"{folder / VECTORS} has no table of entities; it has {', '.join(sorted(tables)) or 'none'}")
    try:
        return Embeddings(
            index.texts("entities"),
            tables["entities"],
            index.texts("relations") if index.items("relations") else (),
            tables.get("relations"),
            model=settings.text("model"),
            settings=_plain_values(settings),
        )
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


def _plain_values(settings: Record) -> dict[str, SettingValue]:
    """The settings that are numbers, texts or null; ``UserError`` for a norm that is no whole number."""
    if settings.has("norm"):
        settings.get("norm", int)
    return {
        name: value
        for name, value in settings.values.items()
        if name != "model" and (value is None or isinstance(value, bool | int | float | str))
    }


def _read(path: Path) -> Record:
    if not path.is_file():
        raise UserError(f"{path.parent} is no folder of embeddings: it has no {path.name}")
    return Record.of(read_json(path), str(path))
