"""Knowledge files of pretraining: texts with linked entities and their vectors, and triples of described entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch

from mm_kptm.data.packing import Packed, PackedTexts
from mm_kptm.data.token_store import stored, tokenized
from mm_kptm.data.tokenizers.batch import IDS, encode_batch
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.settings import fingerprints
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.graph.described_store import stored_graph
from mm_kptm.knowledge.graph.indexed_triple import TripleRows, as_rows
from mm_kptm.knowledge.graph.openke import ENTITY_IDS, ENTITY_VECTORS, mapped_vectors
from mm_kptm.knowledge.graph.triples import read_triples
from mm_kptm.knowledge.graph.wikidata5m import Numbering, read_descriptions
from mm_kptm.knowledge.injection.tokenized_links import ENTITIES, LINKS, LinkTokenizer
from mm_kptm.knowledge.linking.linked_texts import read_linked
from mm_kptm.knowledge.objectives.entity_denoising import LINKED_ENTITIES
from mm_kptm.knowledge.objectives.knowledge_embedding import DESCRIBED_TRIPLES, DescribedGraph
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import LinkedTexts

KNOWLEDGE_REMEDIES = {
    LINKED_ENTITIES: "name a file of `mm-kptm kg link` as data.knowledge.linked and a folder of vectors as "
    "data.knowledge.entities",
    DESCRIBED_TRIPLES: "name a file of triples as data.knowledge.triples and texts of their entities as "
    "data.knowledge.descriptions",
}


@dataclass(frozen=True, kw_only=True)
class KnowledgeFiles:
    """Knowledge files of pretraining documents."""

    linked: Path | None = None  #: texts with linked mentions, as `mm-kptm kg link` writes them
    dev_linked: Path | None = None  #: the same for dev
    entities: Path | None = None  #: a folder of entity vectors, entity2id.txt and entity2vec.vec
    triples: Path | None = None  #: head, relation and tail a line, between tabs
    descriptions: Path | None = None  #: an entity, a tab and a text a line

    def __post_init__(self) -> None:
        for one, other in (("linked", "entities"), ("triples", "descriptions")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise UserError(f"data.knowledge.{one} and data.knowledge.{other} are read together; name both or none")

    @property
    def files(self) -> dict[str, Path | None]:
        """Every file by its part in the data."""
        named = {name: getattr(self, name) for name in ("linked", "dev_linked", "triples", "descriptions")}
        if self.entities is not None:
            named |= {f"entities.{name}": self.entities / name for name in (ENTITY_IDS, ENTITY_VECTORS)}
        return {f"knowledge.{name}": path for name, path in named.items()}


@dataclass(frozen=True, eq=False)
class KnowledgeBeside:
    """Knowledge files, each read on first use.

    Args:
        files: that there are.
        tokenizer: of the texts.
        max_length: pieces of a text, special ones included.
        store: folder for the tokenized descriptions and the numbered triples; None: in memory.
        source: what the store is built from besides its files: the digests of the tokenizer, and settings.
    """

    files: KnowledgeFiles
    tokenizer: Tokenizer
    max_length: int
    store: Path | None = None
    source: Mapping[str, object] = field(default_factory=dict)

    @property
    def has(self) -> dict[str, Callable[[], object] | None]:
        """Values for objectives, by need."""
        found: dict[str, Callable[[], object] | None] = {}
        if self.files.linked is not None:
            found[LINKED_ENTITIES] = None
        if self.files.triples is not None and self.files.descriptions is not None:
            triples, descriptions = self.files.triples, self.files.descriptions
            found[DESCRIBED_TRIPLES] = lambda: self._graph(triples, descriptions)
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a newly initialised encoder that follow from the files."""
        return {} if self._table is None else {"entity_dim": self._table.vectors.shape[1]}

    def linked_texts(self, split: str) -> LinkedTexts | None:
        """The texts of a split with the vectors of their entities; None where there is no file of it.

        Raises:
            UserError: the file cannot be read, or none of its entities has a vector.
        """
        path = {"train": self.files.linked, "dev": self.files.dev_linked}.get(split)
        if path is None or self.files.entities is None or self._table is None:
            return None
        numbers = self.files.entities / ENTITY_IDS
        items, tokenize = partial(read_linked, path), LinkTokenizer(self.tokenizer, self.max_length, numbers)
        if self.store is None:
            found = tokenized(items(), tokenize)
        else:
            digests = fingerprints({"linked": path, "entities": numbers})
            source = {**self.source, **digests, "max_length": self.max_length}
            found = stored(self.store / "knowledge" / f"{split}-linked", items, tokenize, source=source)
        if not found.of_sequences[LINKS].any():
            raise UserError(
                f"no entity that {path} links has a vector in {self.files.entities}; take those of its graph"
            )
        grid = Packed(found.rows.offsets, {ENTITIES: found.rows.columns[ENTITIES]})
        texts = PackedTexts(found.rows.offsets, {IDS: found.rows.columns[IDS]})
        return LinkedTexts(InputSource(texts), grid, self._table)

    @cached_property
    def _table(self) -> EntityTable | None:
        entities = self.files.entities
        if entities is None or self.store is None:
            return None if entities is None else EntityTable.open(entities)
        source = fingerprints({name: entities / name for name in (ENTITY_IDS, ENTITY_VECTORS)})
        vectors = mapped_vectors(self.store / "knowledge" / "entities", entities, source=source)
        return EntityTable({}, torch.from_numpy(vectors))  # names are in the texts no more

    def _graph(self, triples: Path, descriptions: Path) -> DescribedGraph:
        if self.store is not None:
            digests = fingerprints({"triples": triples, "descriptions": descriptions})
            found = stored_graph(
                self.store / "knowledge", triples, descriptions, self.tokenizer, source={**self.source, **digests}
            )
            numbered, texts = found.triples, found.texts
        else:
            described = read_descriptions(descriptions)
            numbered = TripleRows(as_rows(Numbering(described.numbers)(read_triples(triples))))
            texts = encode_batch(self.tokenizer, described.texts)
        if not len(numbered):
            raise UserError(f"no triple of {triples} is between two entities that {descriptions} describes")
        return DescribedGraph(numbered, texts, self.tokenizer.specials, max_length=self.max_length)
