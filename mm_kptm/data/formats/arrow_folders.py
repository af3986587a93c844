"""Folders of Arrow files, as the library ``datasets`` saves them (``Dataset.save_to_disk``), read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_json

STATE = "state.json"  #: lists the files in order; only ``datasets`` writes it


def read_texts(folder: Path, column: str = "text") -> Iterator[str]:
    """The texts of a column, row by row; nothing but one record batch is in memory. Rows without a text are skipped.

    Raises:
        UserError: the folder is no data set of that library, a file is damaged, or there is no such column of texts.
    """
    import pyarrow as pa

    for file in _files(folder):
        try:
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as batches:
                kind = batches.schema.field(column).type if column in batches.schema.names else None
                if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise UserError(
                        f"{file} has no column {column!r} of texts; it has {', '.join(batches.schema.names)}"
                    )
                for batch in batches:
                    yield from (text for text in batch.column(column).to_pylist() if text)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} is no whole Arrow file ({str(error).splitlines()[0]}); save it again") from None


def _files(folder: Path) -> list[Path]:
    if not (folder / STATE).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{STATE}"))
        remedy = f"name one of its splits, {', '.join(inside)}" if inside else "save a split with save_to_disk"
        raise UserError(f"{folder} is no folder that `datasets` saved: it has no {STATE}; {remedy}")
    entries = Record.of(read_json(folder / STATE), str(folder / STATE)).records("_data_files")
    return [folder / Path(entry.get("filename", str)).name for entry in entries]
