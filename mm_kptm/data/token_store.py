"""Token stores: sequences of tokens on disk, memory-mapped, that every process of a machine shares.

A store is a folder with

- ``offsets.npy``: first row of every sequence, and the end, [S + 1];
- one array for each column of rows, such as ``ids.npy``, [R], and of sequences, such as ``of_document.npy``, [S], in
  the narrowest integers that hold it;
- ``store.json``: the columns, what was dropped and why, and what the store was built from: the digests of files and
  tokenizer, and settings.

It is built shard by shard in a folder beside it, by a process that imports no torch. Whole shards are kept when the
building is killed, and the next build goes on behind them; who comes while another process builds waits for it. An
opened store is a :class:`~mm_kptm.data.packing.Packed` on mapped memory, and is read as one.

Shapes: S sequences, R rows of all of them.
"""

from __future__ import annotations

import fcntl
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.io.arrays import read_array
from mm_kptm.io.atomic import atomic_folder, write_json, writing
from mm_kptm.io.own_process import call_in_own_process
from mm_kptm.io.records import Record, read_json

Item = TypeVar("Item")
Columns = Mapping[str, NDArray[np.generic]]

INDEX, OFFSETS, OF_SEQUENCE = "store.json", "offsets", "of_"
SHARD = 1 << 14  #: items that are tokenized at once


@dataclass(frozen=True, eq=False)
class Tokenized:
    """Sequences of tokens with columns of rows and of sequences, in memory or on disk."""

    rows: Packed
    of_sequences: Columns = field(default_factory=dict)  #: each [S]
    dropped: Mapping[str, int] = field(default_factory=dict)  #: how much was left out, by reason

    @classmethod
    def joined(cls, parts: Sequence[Tokenized]) -> Tokenized:
        """The sequences of all parts, in order; all have the same columns."""
        dropped: Counter[str] = Counter()
        for part in parts:
            dropped.update(part.dropped)
        return cls(
            Packed.joined(*(part.rows for part in parts)),
            {name: np.concatenate([part.of_sequences[name] for part in parts]) for name in parts[0].of_sequences},
            dict(dropped),
        )


Tokenize = Callable[[Sequence[Item]], Tokenized]


def tokenized(items: Iterable[Item], tokenize: Tokenize[Item]) -> Tokenized:
    """All items tokenized, in memory."""
    return narrowed(Tokenized.joined([tokenize(shard) for shard in batched(items, SHARD)] or [tokenize(())]))


def stored(
    folder: Path,
    items: Callable[[], Iterable[Item]],
    tokenize: Tokenize[Item],
    *,
    source: Mapping[str, object],
    shard: int = SHARD,
) -> Tokenized:
    """Open the store of a folder; it is built first if it is not there.

    Args:
        folder: of the store.
        items: iterates over what is tokenized, such as lines of text; the same items in every call.
        tokenize: tokenizes successive items.
        source: what the store is built from: digests of files and tokenizer, and settings.
        shard: items that are tokenized at once; a build that was killed goes on with the size it began with.

    Raises:
        UserError: the store was built from something else or is damaged, or an item cannot be read.
    """
    once(folder, _build, folder, items, tokenize, {"source": dict(source), "shard": shard})
    return _opened(folder, dict(source))


def narrowed(found: Tokenized) -> Tokenized:
    """The same sequences in the narrowest integers that hold them."""
    rows = {name: column.astype(narrowest(column)) for name, column in found.rows.columns.items()}
    of_sequences = {name: column.astype(narrowest(column)) for name, column in found.of_sequences.items()}
    return Tokenized(Packed(found.rows.offsets, rows), of_sequences, found.dropped)


def narrowest(column: NDArray[np.generic]) -> np.dtype[np.generic]:
    """The smallest integers that hold a column, those without a sign first.

    >>> narrowest(np.array([0, 300])), narrowest(np.array([-1, 100]))
    (dtype('uint16'), dtype('int8'))
    """
    if not len(column):
        return np.dtype(np.uint8)
    low, high = int(column.min()), int(column.max())
    kinds = (np.int8, np.int16, np.int32, np.int64) if low < 0 else (np.uint8, np.uint16, np.uint32, np.int64)
    return np.dtype(next(kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max))


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Successive runs of ``size`` items, of which the last may be shorter.

    >>> list(batched("abc", 2))
    [('a', 'b'), ('c',)]
    """
    left = iter(items)
    while some := tuple(islice(left, size)):
        yield some


def once(folder: Path, build: Callable[..., None], *arguments: object) -> None:
    """Call ``build``, which makes a folder, unless the folder is there or another process is making it.

    It is called in a process of its own where it and its arguments can be pickled. Other callers wait for it.
    """
    if folder.is_dir():
        return
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            call_in_own_process(build, *arguments, keep_open=(lock.fileno(),))


def _build(
    folder: Path, items: Callable[[], Iterable[Item]], tokenize: Tokenize[Item], made_of: dict[str, object]
) -> None:
    building = folder.with_name(f".{folder.name}.building")
    if building.is_dir() and _made_of(building) != made_of:
        shutil.rmtree(building)
    if not building.is_dir():
        with atomic_folder(building) as draft:
            write_json(draft / INDEX, made_of)
    shards = []
    for number, some in enumerate(batched(items(), int(str(made_of["shard"])))):
        shards.append(building / f"{number:06d}")
        if not shards[-1].is_dir():
            _write_shard(shards[-1], narrowed(tokenize(some)))
    if not shards:
        shards.append(building / "000000")
        _write_shard(shards[-1], narrowed(tokenize(())))
    with atomic_folder(folder) as draft:
        index = _join(shards, draft)
        write_json(draft / INDEX, {**made_of, **index}, indent=1)
    shutil.rmtree(building)


def _made_of(building: Path) -> object:
    try:
        return dict(Record.of(read_json(building / INDEX), str(building)).values)
    except UserError:
        return None


def _write_shard(shard: Path, found: Tokenized) -> None:
    with atomic_folder(shard) as draft:
        np.save(draft / f"{OFFSETS}.npy", found.rows.offsets)
        for name, column in found.rows.columns.items():
            np.save(draft / f"{name}.npy", column)
        for name, column in found.of_sequences.items():
            np.save(draft / f"{OF_SEQUENCE}{name}.npy", column)
        write_json(draft / INDEX, {"dropped": dict(found.dropped)})


def _join(shards: Sequence[Path], draft: Path) -> dict[str, object]:
    """Write the arrays of all shards one behind the other; the index of the store."""
    names = sorted(file.stem for file in shards[0].glob("*.npy"))
    kinds = {}
    for name in names:
        parts = [read_array(shard / f"{name}.npy", mmap=True) for shard in shards]
        if name == OFFSETS:
            kind, lengths = np.dtype(np.int64), [len(part) - 1 for part in parts]
            lengths[-1] += 1  # the end
        else:
            kind, lengths = np.result_type(*(part.dtype for part in parts)), list(map(len, parts))
        rows = 0
        with (draft / f"{name}.npy").open("wb") as file:
            header = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": (sum(lengths),)}
            npy.write_array_header_2_0(file, header)
            for part, length in zip(parts, lengths, strict=True):
                (part[:length].astype(kind) + (rows if name == OFFSETS else 0)).astype(kind).tofile(file)
                rows += int(part[-1]) if name == OFFSETS else 0
        kinds[name] = kind.name
    dropped: Counter[str] = Counter()
    for shard in shards:
        record = Record.of(read_json(shard / INDEX), str(shard))
        dropped.update({reason: int(str(count)) for reason, count in record.get("dropped", dict).items()})
    offsets = read_array(draft / f"{OFFSETS}.npy", mmap=True)
    return {
        "sequences": len(offsets) - 1,
        "rows": int(offsets[-1]),
        "columns": kinds,
        "dropped": dict(dropped),
    }


def _opened(folder: Path, source: dict[str, object]) -> Tokenized:
    path = folder / INDEX
    if not path.is_file():
        raise UserError(f"{folder} is no token store: it has no {INDEX}; name a folder that does not exist yet")
    record = Record.of(read_json(path), str(path))
    if record.get("source", dict) != source:
        raise UserError(
            f"{folder} was built from other files, with another tokenizer or with other settings; remove it, and it is "
            "built anew, or name another folder"
        )
    arrays = {name: read_array(folder / f"{name}.npy", mmap=True) for name in record.get("columns", dict)}
    offsets = arrays.pop(OFFSETS)
    sequences, rows = record.count("sequences"), record.count("rows")
    expected = {name: sequences if name.startswith(OF_SEQUENCE) else rows for name in arrays}
    wrong = [name for name, array in arrays.items() if len(array) != expected[name]]
    if wrong or len(offsets) != sequences + 1 or int(offsets[-1]) != rows:
        raise UserError(f"{folder / f'{(wrong or [OFFSETS])[0]}.npy'} does not hold what {INDEX} says; remove {folder}")
    return Tokenized(
        Packed(offsets, {name: array for name, array in arrays.items() if not name.startswith(OF_SEQUENCE)}),
        {name.removeprefix(OF_SEQUENCE): array for name, array in arrays.items() if name.startswith(OF_SEQUENCE)},
        {reason: int(str(count)) for reason, count in record.get("dropped", dict).items()},
    )
