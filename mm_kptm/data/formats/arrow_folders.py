"""Folders of Arrow files, as the library ``datasets`` saves them (``Dataset.save_to_disk``), read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, each_row, read_json

if TYPE_CHECKING:
    import pyarrow as pa

STATE = "state.json"  #: lists the files in order; only ``datasets`` writes it
TRANSLATION = "translation"  #: column of texts by language, as ``datasets`` has parallel corpora


def read_texts(folder: Path, column: str = "text") -> Iterator[str]:
    """The texts of a column, row by row; rows without a text are skipped. Errors as :func:`read_rows`."""
    return (text for (text,) in read_rows(folder, (column,)) if text)


def read_rows(folder: Path, columns: Sequence[str], *, within: str = "") -> Iterator[tuple[str, ...]]:
    """The texts of some columns, row by row; nothing but one record batch is in memory. A missing text is empty.

    Args:
        folder: saved by the library.
        columns: that are read.
        within: a column that may hold the others, each a field of its objects.

    Raises:
        UserError: the folder is no data set of that library, a file is damaged, or there is no such column of texts.
    """
    import pyarrow as pa

    for file in _files(folder):
        try:
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as batches:
                _check(file, batches.schema, columns, within)
                for batch in batches:
                    yield from zip(*(_texts(batch, column, within) for column in columns), strict=True)
        except (pa.ArrowException, OSError) as error:
            raise _torn(file, error) from None


def each_cells(path: Path, columns: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """The cells of every line of a file between tabs, or of some columns of a folder, with their place.

    Raises:
        UserError: as :func:`read_rows` and :func:`~mm_kptm.io.records.each_row`.
    """
    if not path.is_dir():
        yield from each_row(path)
        return
    for number, row in enumerate(read_rows(path, columns), 1):
        yield list(row), f"{path}, row {number}"


def column_names(folder: Path, *, within: str = "") -> tuple[str, ...]:
    """The columns of a folder, or the fields of ``within`` if it is a column of objects; errors as above."""
    import pyarrow as pa

    file = _files(folder)[0]
    try:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as batches:
            return tuple(_kinds(batches.schema, within))
    except (pa.ArrowException, OSError) as error:
        raise _torn(file, error) from None


def _torn(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} is no whole Arrow file ({str(error).splitlines()[0]}); save it again")


def _kinds(schema: pa.Schema, within: str) -> dict[str, pa.DataType]:
    kinds = {name: schema.field(name).type for name in schema.names}
    return {field.name: field.type for field in kinds[within]} if _holds(schema, within) else kinds


def _check(file: Path, schema: pa.Schema, columns: Sequence[str], within: str) -> None:
    import pyarrow as pa

    kinds = _kinds(schema, within)
    for column in columns:
        kind = kinds.get(column)
        if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise UserError(f"{file} has no column {column!r} of texts; it has {', '.join(kinds)}")


def _texts(batch: pa.RecordBatch, column: str, within: str) -> list[str]:
    import pyarrow.compute as pc

    inside = _holds(batch.schema, within)
    found = pc.struct_field(batch.column(within), column) if inside else batch.column(column)
    return [text or "" for text in found.to_pylist()]


def _holds(schema: pa.Schema, within: str) -> bool:
    """Whether there is such a column of objects."""
    import pyarrow as pa

    return within in schema.names and pa.types.is_struct(schema.field(within).type)


def _files(folder: Path) -> list[Path]:
    if not (folder / STATE).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{STATE}"))
        remedy = f"name one of its splits, {', '.join(inside)}" if inside else "save a split with save_to_disk"
        raise UserError(f"{folder} is no folder that `datasets` saved: it has no {STATE}; {remedy}")
    entries = Record.of(read_json(folder / STATE), str(folder / STATE)).records("_data_files")
    return [folder / Path(entry.get("filename", str)).name for entry in entries]
