"""Texts of a text tower in files, with facts of a graph or descriptions of entities at the names that they mention."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mm_kptm.datasets.knowledge_settings import WORDINGS, KnowledgeTextSettings
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.settings import SplitFiles, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_table
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.fact_injector import FactInjector
from mm_kptm.knowledge.injection.graph_names import tells_case
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.random_streams import RandomStream

DESCRIPTION = "description"


@dataclass(frozen=True, kw_only=True)
class TowerTexts(KnowledgeTextSettings, SplitFiles):
    """One file per split, whose texts a text tower reads, with facts or descriptions where these are asked for."""

    descriptions: Path | None = None
    """In place of a graph: a name, a language and a description of what is called so a line, between tabs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.graph is not None and self.descriptions is not None:
            raise UserError(
                f"facts hang from names, and both data.graph ({self.graph}) and data.descriptions "
                f"({self.descriptions}) would say which; give one of them"
            )

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of every input file by its role, of the graph or the descriptions, too."""
        return {**super().fingerprints, **self.knowledge_fingerprints}

    @property
    def knowledge_fingerprints(self) -> dict[str, str]:
        """SHA-256 of the graph or of the descriptions, if there are any."""
        given = {"graph": self.graph, DESCRIPTION: self.descriptions}
        return fingerprints({role: path for role, path in given.items() if path is not None})

    def fact_injector(self, request: DataRequest, wording: str, *, what: str, oracle: bool) -> FactInjector | None:
        """Injector of facts or descriptions; see :meth:`KnowledgeTextSettings.fact_injector`."""
        asked = request.knowledge is not None and request.form == BRANCHES
        if not asked or self.descriptions is None or request.facts == "oracle":
            return super().fact_injector(request, wording, what=what, oracle=oracle)
        return FactInjector(
            read_descriptions(self.descriptions),
            WORDINGS[self.wording or "object"],
            self.facts_per_name,
            RandomStream(self.seed),
            cased=tells_case(self.tokenizer_for(request.recipe)),
        )


def read_descriptions(path: Path) -> KnowledgeGraph:
    """Names with descriptions as a graph in which a name carries the descriptions in its language alone.

    Raises:
        UserError: the file is empty, or a line is no name, language and description; the message names it.
    """
    triples, names = [], dict[str, dict[str, tuple[str, ...]]]()
    for cells, place in read_table(path):
        cells = [cell.strip() for cell in cells]
        if len(cells) != 3 or not all(cells):
            raise UserError(
                f"{place} should be a name, a language and a description, set apart by tabs; it is "
                f"{' '.join(cells)[:40]!r}"
            )
        name, language, text = cells
        entity = f"{name}@{language.lower()}"
        triples.append(Triple(entity, DESCRIPTION, text))
        names.setdefault(language.lower(), {})[entity] = (name,)
    return KnowledgeGraph(triples, NameIndex(aliases=names))
