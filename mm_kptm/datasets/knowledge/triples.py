"""Triple datasets: a folder with train, valid and test triples, and descriptions of the entities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.graph.splits import files_of
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.graph.wikidata5m import Descriptions, read_descriptions
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedGraph
from mm_kptm.systems.system import System
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.knowledge.described_triples import DescribedSource, DescribedTask
from mm_kptm.tasks.knowledge.link_prediction import LinkPrediction
from mm_kptm.tasks.knowledge.triple_classification import TripleClassification

SPLITS = {"train": "train", "dev": "valid", "test": "test"}  #: the part of a graph that a split is
DESCRIPTIONS = ("descriptions.tsv", "wikidata5m_text.txt", "entity2text.txt")
_TRUTH = {"1": True, "-1": False, "0": False}


class LabelledTriple(NamedTuple):
    """A triple, and whether it is true."""

    triple: Triple
    holds: bool


@dataclass(frozen=True, kw_only=True)
class TripleData(TextSettings):
    """Triples between entities that are described by texts: your own, or Wikidata5M's (Wang et al. 2021)."""

    name: Literal["triples"]
    folder: Path  #: with train, valid and test (.tsv or .txt): head, relation, tail, perhaps 1 or -1 behind
    descriptions: Path | None = None  #: an entity, a tab and a text a line; descriptions.tsv of the folder when null
    candidates: Literal["all", "split"] = "all"  #: all that are described, or those of the split alone, as if inductive
    negatives: int = 1  #: false heads and false tails of a triple that is learnt

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negatives < 1:
            raise UserError(f"data.negatives is {self.negatives} but must be at least 1")

    @property
    def files(self) -> dict[str, Path]:
        """The file of every split there is; ``UserError`` where there is none to learn from."""
        parts = files_of(self.folder)
        if "train" not in parts:
            raise UserError(f"{self.folder} has no train.tsv or train.txt; name a folder with triples to learn from")
        return {split: parts[part] for split, part in SPLITS.items() if part in parts}

    @property
    def described(self) -> Path:
        """The file of descriptions."""
        if self.descriptions is not None:
            return self.descriptions
        files = [self.folder / name for name in DESCRIPTIONS]
        return next((file for file in files if file.is_file()), files[0])


def read_claims(path: Path) -> list[LabelledTriple]:
    """Head, relation and tail between tabs, and where there is a fourth column, 1 for true and -1 for false.

    Raises:
        UserError: there is no such file, or a line is none of that form; the message names it.
    """
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    return list(_claims(path))


def _claims(path: Path) -> Iterator[LabelledTriple]:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        head, relation, tail, truth, *rest = (*(part.strip() for part in line.split("\t")), "1", "", "", "")
        if not (head and relation and tail) or truth not in _TRUTH or len(rest) > 4 or line.count("\t") < 2:
            raise UserError(
                f"{path}, line {number} is {line.strip()[:60]!r}; a triple is head, relation and tail between tabs, "
                "with 1 or -1 behind where it says whether it is true"
            )
        yield LabelledTriple(Triple(head, relation, tail), _TRUTH[truth])


class _Read(NamedTuple):
    """Contents of the files with numbered entities and relations."""

    names: tuple[str, ...]
    relations: tuple[str, ...]
    true: dict[str, tuple[IndexedTriple, ...]]
    false: dict[str, tuple[IndexedTriple, ...]]


def read(data: TripleData, described: Descriptions) -> _Read:
    """The triples of every split; entities have the numbers of their descriptions.

    Raises:
        UserError: a line cannot be read, a triple is about an entity without a description, or a split holds none.
    """
    relations: dict[str, int] = {}
    true, false = {}, {}
    for split, path in data.files.items():
        claims = read_claims(path)
        unknown = sorted({name for (h, _, t), _ in claims for name in (h, t)} - described.numbers.keys())
        if unknown:
            raise UserError(
                f"{path} is about {len(unknown)} entities without a description, such as {unknown[0]}; describe them "
                f"in {data.described} or leave their triples out"
            )
        numbered = [
            IndexedTriple(described.numbers[h], relations.setdefault(r, len(relations)), described.numbers[t])
            for (h, r, t), _ in claims
        ]
        true[split], false[split] = (
            tuple(one for one, claim in zip(numbered, claims, strict=True) if claim.holds is truth)
            for truth in (True, False)
        )
        if not true[split]:
            raise UserError(f"{path} holds no true triple; it needs one at least")
    return _Read(tuple(described.numbers), tuple(relations), true, false)


def prepared(
    data: TripleData,
    request: DataRequest,
    task: Callable[[System, int, Callable[[str], DescribedSource]], DescribedTask],
) -> PreparedData:
    """A task on the files."""
    tokenizer = data.tokenizer()
    described = read_descriptions(data.described)
    found = read(data, described)
    texts = [tokenizer.encode(text).ids for text in described.texts]

    @cache
    def source(split: str) -> DescribedSource:
        before = list(SPLITS)[: max(list(SPLITS).index(split), 1) + 1]  # negatives contradict no valid triple either
        known = [triple for part in before for triple in found.true.get(part, ())]
        own = {entity for head, _, tail in found.true[split] for entity in (head, tail)}
        return DescribedSource(
            DescribedGraph(found.true[split], texts, tokenizer.specials, known=known, max_length=data.max_length),
            found.names,
            found.relations,
            torch.tensor(known, dtype=torch.long),
            tuple(range(len(texts))) if data.candidates == "all" else tuple(sorted(own)),
            found.false[split],
            data.negatives,
        )

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: task(system, len(found.relations), source),
        sizes={"vocab_size": len(tokenizer), "num_languages": max(len(data.languages), 1)},
        heads=requested_heads(request.recipe, DescribedTask.HEADS, {"num_relations": len(found.relations)}),
        fingerprints=fingerprints({**data.files, "descriptions": data.described, **data.tokenizer_files}),
    )


def link_prediction(data: TripleData, request: DataRequest) -> PreparedData:
    """Heads and tails among all entities that are described."""

    def task(system: System, relations: int, source: Callable[[str], DescribedSource]) -> LinkPrediction:
        return LinkPrediction(system, relations)

    return prepared(data, request, task)


def triple_classification(data: TripleData, request: DataRequest) -> PreparedData:
    """True triples and false ones; thresholds are chosen on ``dev``.

    Raises:
        UserError: there is no such split.
    """
    if "dev" not in data.files:
        raise UserError(f"{data.folder} has no valid.tsv, on which triple-classification chooses its thresholds")

    def task(system: System, relations: int, source: Callable[[str], DescribedSource]) -> TripleClassification:
        return TripleClassification(system, relations, partial(source, "dev"))

    return prepared(data, request, task)


LINK_PREDICTION_SUPPLY = TaskDataset(LinkPrediction, TripleData, link_prediction, read_claims)
TRIPLE_CLASSIFICATION_SUPPLY = TaskDataset(TripleClassification, TripleData, triple_classification, read_claims)
