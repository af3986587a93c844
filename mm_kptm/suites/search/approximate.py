"""Approximate nearest neighbours by FAISS, tuned until they find what an exact search finds.

Shapes: N vectors, D dim, K results.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Record, read_json
from mm_kptm.suites.search.generation import Generation
from mm_kptm.suites.search.nearest import Vectors, top_k

KINDS = ("none", "hnsw", "ivf")
FILE, FACTS = "approximate.faiss", "approximate.json"
WANTED_RECALL, AT = 0.97, 10  #: recall@10 that an index is tuned to
_SAMPLED = 200  # pictures that serve as queries when an index is tuned
_TRAINED = 64  # vectors per cell that the cells of an inverted file are computed from
_STEP = 65536  # vectors added at once
_LINKS, _BREADTH = 32, 80  # of the graph: neighbours of a node, candidates while it is built


@dataclass(frozen=True)
class Approximation:
    """How a generation is searched approximately."""

    kind: str  #: one of :data:`KINDS`
    effort: int  #: candidates kept while a graph is walked (efSearch), or cells read of an inverted file (nprobe)
    recall: float  #: share of the exact 10 nearest that it found, over sampled pictures as queries


class ApproximateIndex:
    """An open FAISS index of a generation; scores are those of the exact search."""

    def __init__(self, generation: Generation, found: Approximation) -> None:
        faiss = _faiss()
        self.found = found
        self._vectors = generation.vectors
        self._index = faiss.read_index(str(generation.folder / FILE), faiss.IO_FLAG_MMAP_IFC)
        self._parameters = _parameters(faiss, found.kind, found.effort)

    def top_k(self, query: Vectors, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As :func:`~mm_kptm.suites.search.nearest.top_k`, nearly always with the same result, [K] each."""
        _, (rows,) = self._index.search(query[None], k, params=self._parameters)
        rows = np.sort(rows[rows >= 0])
        scores = self._vectors[rows].astype(np.float64) @ query.astype(np.float64)
        best = np.lexsort((rows, -scores))
        return scores[best], rows[best]


def open_approximate(generation: Generation) -> ApproximateIndex | None:
    """The FAISS index of a generation; None where it has none, or FAISS is not installed."""
    if approximation_of(generation.folder) == "none":
        return None
    try:
        _faiss()
    except UserError:
        return None
    record = Record.of(read_json(generation.folder / FACTS), str(generation.folder / FACTS))
    return ApproximateIndex(
        generation, Approximation(record.get("kind", str), record.count("effort"), record.share("recall"))
    )


def approximation_of(folder: Path) -> str:
    """The kind of approximate search that a generation has."""
    path = folder / FACTS
    return Record.of(read_json(path), str(path)).get("kind", str) if path.is_file() else "none"


def approximate(folder: Path, kind: str) -> Approximation | None:
    """Add a FAISS index to the folder of a generation that is otherwise whole.

    Raises:
        UserError: the kind is unknown, FAISS is not installed, or it does not find 95 % of the exact results.
    """
    if kind not in KINDS:
        raise UserError(f"approximate search was asked for by {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "none":
        return None
    faiss = _faiss()
    generation = Generation.open(folder)
    index = _built(faiss, kind, generation.vectors)
    found = _tuned(faiss, index, kind, generation.vectors)
    if found.recall < 0.95:
        raise UserError(
            f"an approximate index ({kind}) finds only {found.recall:.0%} of the exact results on these pictures; "
            "search exactly, with --approximate none"
        )
    faiss.write_index(index, str(folder / FILE))
    write_json(folder / FACTS, asdict(found), indent=1)
    return found


def _built(faiss: Any, kind: str, vectors: Vectors) -> Any:
    count, dim = vectors.shape
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BREADTH
    else:
        cells = max(1, min(int(2 * count**0.5), count // _TRAINED))
        coarse = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFScalarQuantizer(
            coarse, dim, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        index.by_residual = False
        chosen = np.random.default_rng(0).permutation(count)[: cells * _TRAINED]
        index.train(np.ascontiguousarray(vectors[np.sort(chosen)]))
    for first in range(0, count, _STEP):
        index.add(np.ascontiguousarray(vectors[first : first + _STEP]))
    return index


def _tuned(faiss: Any, index: Any, kind: str, vectors: Vectors) -> Approximation:
    """The least effort with the wanted recall, or else the greatest one."""
    chosen = np.random.default_rng(1).permutation(len(vectors))[:_SAMPLED]
    queries = np.ascontiguousarray(vectors[np.sort(chosen)])
    nearest = [set(top_k(vectors, query, AT)[1].tolist()) for query in queries]
    most = int(index.nlist) if kind == "ivf" else 4096
    effort, recall = 8 if kind == "ivf" else 16, 0.0
    while True:
        effort = min(effort, most)
        _, rows = index.search(queries, AT, params=_parameters(faiss, kind, effort))
        hits = sum(len(true & set(row)) for true, row in zip(nearest, rows.tolist(), strict=True))
        recall = hits / sum(map(len, nearest))
        if recall >= WANTED_RECALL or effort == most:
            return Approximation(kind, effort, recall)
        effort = effort * 3 // 2


def _parameters(faiss: Any, kind: str, effort: int) -> Any:
    if kind == "ivf":
        return faiss.SearchParametersIVF(nprobe=effort)
    return faiss.SearchParametersHNSW(efSearch=effort)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UserError(
            "approximate search needs FAISS, which is not installed; `pip install mm-kptm[search]`, or search exactly"
        ) from None
    return faiss
