"""Exact nearest neighbours by cosine: a chunked scan of memory-mapped vectors, in little memory.

Shapes: N vectors, D dim, K results.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from mm_kptm.errors import UserError

Vectors = NDArray[np.float32]

CHUNK_BYTES = 8 * 2**20  #: vectors that are scored at once; small enough for a processor's cache
#: Files up to this size stay mapped between queries. Of larger ones every chunk is unmapped once it is read: the pages
#: stay in the cache of the operating system, but no longer count as memory of the process.
KEPT_BYTES = 128 * 2**20
_SPARE = 32  # candidates besides the K best that are scored again in double precision


def top_k(vectors: Vectors, query: Vectors, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The K vectors with the highest inner product, best first: their products and their rows, [min(K, N)] each.

    Every vector is read. Scores are computed in single precision, those of the best again in double precision; of equal
    ones the first row wins.

    Args:
        vectors: [N, D], an array or a memory map of one.
        query: [D].
        k: at least 1.

    Raises:
        UserError: the dims differ, the query is not finite, or k is below 1.
    """
    if query.shape != vectors.shape[1:]:
        raise UserError(f"a query of {query.shape[-1]} numbers was compared with vectors of {vectors.shape[1]}")
    if not np.isfinite(query).all():
        raise UserError("a query was embedded as numbers that are not finite; evaluate the model, or take another one")
    if k < 1:
        raise UserError(f"{k} results were asked for; ask for 1 at least")
    query = np.ascontiguousarray(query, dtype=np.float32)
    workers = _workers()
    cuts = np.linspace(0, len(vectors), workers + 1).astype(int).tolist()
    # BLAS must not start threads of its own inside of ours: they would wait for each other.
    with _blas().limit(limits=1, user_api="blas"):
        if workers == 1 or len(vectors) * query.nbytes <= CHUNK_BYTES:
            found = [_scan(vectors, query, k + _SPARE, 0, len(vectors))]
        else:
            parts = (_pool().submit(_scan, vectors, query, k + _SPARE, *part) for part in pairwise(cuts))
            found = [part.result() for part in list(parts)]
    rows = np.sort(np.concatenate(found))
    scores = vectors[rows].astype(np.float64) @ query.astype(np.float64)
    best = np.lexsort((rows, -scores))[:k]
    return scores[best], rows[best]


def _scan(vectors: Vectors, query: Vectors, k: int, start: int, stop: int) -> NDArray[np.int64]:
    """The rows of the K best from ``start`` to ``stop``, in any order."""
    scores, rows = np.empty(0, np.float32), np.empty(0, np.int64)
    least = -np.inf
    for first, chunk in _chunks(vectors, start, stop):
        product = chunk @ query
        better = np.flatnonzero(product > least)
        if not len(better):
            continue
        scores = np.concatenate([scores, product[better]])
        rows = np.concatenate([rows, first + better])
        if len(rows) > k:
            kept = np.lexsort((rows, -scores))[:k]
            scores, rows = scores[kept], rows[kept]
            least = scores[-1]
    return rows


def _chunks(vectors: Vectors, start: int, stop: int) -> Iterator[tuple[int, Vectors]]:
    """Rows of the vectors with the number of the first one; large maps are unmapped behind the reader."""
    step = max(CHUNK_BYTES // max(vectors.strides[0], 1), 1)
    source = getattr(vectors, "_mmap", None)
    forget = source if isinstance(source, mmap.mmap) and vectors.nbytes > KEPT_BYTES else None
    begin = vectors.offset % mmap.ALLOCATIONGRANULARITY if isinstance(vectors, np.memmap) else 0
    for first in range(start, stop, step):
        last = min(first + step, stop)
        yield first, vectors[first:last]
        if forget is not None:
            low = (begin + first * vectors.strides[0]) // mmap.PAGESIZE * mmap.PAGESIZE
            high = min(begin + last * vectors.strides[0], len(forget))
            forget.madvise(mmap.MADV_DONTNEED, low, high - low)


def _workers() -> int:
    """Threads that scan: ``OMP_NUM_THREADS`` where it is set, which commands do, else the usable processors."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_workers(), thread_name_prefix="scan")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
