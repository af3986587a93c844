"""Examples in the files that data sets come in: JSON, JSON lines, CSV, TSV, Parquet and Arrow.

Every reader of own data takes its records from here, so a column of any of these files may feed any key of a schema.
Parquet and Arrow as the `datasets` library writes them name their integer labels; the names are taken from there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_kptm.errors import UserError, nearest
from mm_kptm.io.records import (
    Json,
    Record,
    begins_with_list,
    each_listed,
    each_record,
    each_row,
    parse_json,
    read_json,
    read_line,
    shown,
)
from mm_kptm.io.text_lines import compression, content_suffix, each_line, open_bytes

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("label", "relation", "tags", "types", "answers")  #: keys whose whole numbers may be places among label names
LISTS = ("answers", "captions", "words", "tags", "types", "mention", "head", "tail", "box", "sentences")
_WORDS = ("words", "tags")  #: lists that a cell of text may hold with blanks between
NO_LABEL = -1  #: the whole number of `datasets` for an example without a label
_ROWS = 4096  #: of Arrow that are Python objects at once
_PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"  # how such files begin


@dataclass(frozen=True)
class TableColumns:
    """Which columns of a file are read, and what its integer labels are called."""

    columns: Mapping[str, str] = field(default_factory=dict)  #: by key of the schema, the column of the file
    label_names: tuple[str, ...] = ()  #: of the labels 0, 1, ...; those of the file when empty

    def __post_init__(self) -> None:
        for place, name in enumerate(self.label_names):
            if not name.strip():
                raise UserError(f"the label names are {shown(list(self.label_names))}, of which one is blank")
            if name in self.label_names[:place]:
                raise UserError(f"the label names hold {name!r} twice; every label has a name of its own")


class _TextRow(Record):
    """A row whose cells are text, whatever they stand for."""


class _ArrowRow(Record):
    """A row of a table with types, where one text may stand for a list of one."""


def each_record_of(path: str | Path, keys: Sequence[str], table: TableColumns = TableColumns()) -> Iterator[Record]:
    """Iterate over the examples of a file by the keys of a schema; what is null, or an empty cell, is left out.

    Of JSON, CSV and TSV one example is held at a time.

    Args:
        path: a file, or a folder of Arrow or Parquet files as `datasets` saves them.
        keys: of the schema. Without ``table.columns`` nothing else may be in the file; with them, other columns are
            passed over.
        table: which columns are read.

    Raises:
        UserError: the file cannot be read, a column is not there or of no key, or an integer has no label name.
    """
    for key in table.columns:
        if key not in keys:
            raise UserError(f"data.columns names a column for {key!r}, but examples have {', '.join(keys)}")
    rows, names = _rows(Path(path))
    empty = True
    for row in rows:
        empty = False
        yield _of_schema(row, keys, table, names)
    if empty:
        raise UserError(f"{path} holds no example; at least one was expected")


def _of_schema(row: Record, keys: Sequence[str], table: TableColumns, names: Mapping[str, Sequence[str]]) -> Record:
    taken = set(table.columns.values())
    values: dict[str, Json] = {}
    for key in keys:
        column = table.columns.get(key, key)
        if column not in row.values:
            if key in table.columns and key not in LABELS:  # what is asked may be missing where it is to be found out
                raise UserError(
                    f"{row.place} has no column {column!r}, which data.columns names for {key!r}; it has "
                    f"{', '.join(row.values) or 'none'}"
                )
            continue
        if key not in table.columns and column in taken:
            continue
        value = row.values[column]
        if isinstance(row, _TextRow) and isinstance(value, str) and key in LISTS:
            value = _listed(value, key, row.place)
        elif isinstance(row, _ArrowRow) and isinstance(value, str) and key in LISTS:
            value = [value]
        if key in LABELS:
            value = _named(value, table.label_names or tuple(names.get(column, ())), f"{row.place}: {column!r}")
        if value is not None:
            values[key] = value
    if not table.columns:
        for column in row.values:
            if column not in keys:
                raise UserError(
                    f"{row.place} has the unknown key {column!r}{nearest(column, keys)}; where columns have other "
                    "names, or more are there than are read, name them in data.columns"
                )
    return Record(values, row.place)


def _named(value: Json, names: Sequence[str], place: str) -> Json:
    """A whole number as the name of the label it stands for; None for :data:`NO_LABEL`."""
    if isinstance(value, list):
        return [_named(one, names, place) for one in value]
    text = value.strip() if isinstance(value, str) else value
    if not names or isinstance(text, bool) or (isinstance(text, str) and (text in names or not _is_whole(text))):
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None or not isinstance(text, int | str):
        return value
    number = int(text)
    if number == NO_LABEL:
        return None
    if not 0 <= number < len(names):
        raise UserError(f"{place} is {number}, but the label names are {len(names)}, for 0 to {len(names) - 1}")
    return names[number]


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _rows(path: Path) -> tuple[Iterable[Record], Mapping[str, Sequence[str]]]:
    """The rows of a file with their places, and the names of integer labels by column."""
    if path.is_dir():
        return _arrow(path, _shards(path))
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    with open_bytes(path) as file:
        head = file.read(8)
    if head.startswith((_PARQUET, _ARROW_FILE, _ARROW_STREAM)):
        return _arrow(path, [path])
    ending = content_suffix(path)
    if ending == ".csv":
        return _cells(_csv(path)), {}
    if ending == ".tsv":
        return _cells(each_row(path)), {}
    if ending == ".json" and begins_with_list(path):
        return each_listed(path), {}
    return each_record(path), {}


def _csv(path: Path) -> Iterator[tuple[list[str], str]]:
    """The cells of every line of a CSV file (RFC 4180), whose cells may hold line ends in quotes."""
    lines = (f"{line}\n" for line in each_line(path, "a table of cells between commas"))
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield cells, f"{path}, line {line}"
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is no CSV: {error}") from None


def _cells(lines: Iterator[tuple[list[str], str]]) -> Iterator[Record]:
    names, header = next(lines)
    names = [name.strip() for name in names]
    if len(set(names)) < len(names) or not all(names):
        raise UserError(f"{header} must name the columns, each once, but it is {shown(' | '.join(names))}")
    for cells, place in lines:
        if len(cells) != len(names):
            raise UserError(
                f"{place} has {len(cells)} cells, but the first line names {len(names)}: {', '.join(names)}"
            )
        yield _TextRow({name: cell.strip() or None for name, cell in zip(names, cells, strict=True)}, place)


def _listed(text: str, key: str, place: str) -> Json:
    """The list that a cell of text holds: as JSON, words between blanks, or one text."""
    if text.startswith(("[", "{")):
        return read_line(f'{{"value": {text}}}', f"{place}: {key!r}").values["value"]
    return list(text.split()) if key in _WORDS else [text]


def _shards(folder: Path) -> list[Path]:
    """The files of a folder: as its ``state.json`` orders them, or by name."""
    state = folder / "state.json"
    if state.is_file():
        listed = Record.of(read_json(state), str(state)).records("_data_files")
        return [folder / one.get("filename", str) for one in listed]
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".arrow", ".parquet"))
    if not found:
        raise UserError(f"{folder} holds no .arrow or .parquet file; name the file or folder of one split")
    return found


def _arrow(path: Path, files: Sequence[Path]) -> tuple[Iterator[Record], Mapping[str, Sequence[str]]]:
    """The rows of Arrow or Parquet files, some at a time, and the names of integer labels by column."""
    names: dict[str, Sequence[str]] = {}
    for file in files:
        with _arrow_batches(file) as (schema, _):
            names |= _class_names(schema)
    return _arrow_rows(path, files), names


def _arrow_rows(path: Path, files: Sequence[Path]) -> Iterator[Record]:
    for file in files:
        where, number = path if len(files) == 1 else file, 0
        with _arrow_batches(file) as (_, batches):
            for batch in batches:
                for first in range(0, len(batch), _ROWS):
                    for row in batch.slice(first, _ROWS).to_pylist():
                        number += 1
                        yield _ArrowRow(row, f"{where}, row {number}")


@contextmanager
def _arrow_batches(file: Path) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The schema of a file and its batches of rows; a file that is packed is unpacked in memory, others are mapped."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    try:
        if compression(file) is None:
            source = pa.memory_map(str(file))
        else:
            with open_bytes(file) as stream:
                source = pa.BufferReader(stream.read())
        with source:
            head = source.read(len(_ARROW_FILE))
            source.seek(0)
            if head.startswith(_PARQUET):
                whole = parquet.ParquetFile(source, pre_buffer=False)
                yield whole.schema_arrow, whole.iter_batches(_ROWS, use_threads=False)
            elif head.startswith(_ARROW_FILE):
                opened = ipc.open_file(source)
                yield opened.schema, (opened.get_batch(number) for number in range(opened.num_record_batches))
            else:
                batches = ipc.open_stream(source)
                yield batches.schema, iter(batches)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is no whole Parquet or Arrow file: {error}") from None


def _class_names(schema: pa.Schema) -> dict[str, Sequence[str]]:
    """The names of integer labels that `datasets` wrote into a schema, by column."""
    written = (schema.metadata or {}).get(b"huggingface")
    if not written:
        return {}
    described = parse_json(written.decode("utf-8", "replace"), "the schema of the file")
    info = described.get("info") if isinstance(described, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    found = {column: _names_of(feature) for column, feature in features.items()} if isinstance(features, dict) else {}
    return {column: names for column, names in found.items() if names}


def _names_of(feature: Any) -> Sequence[str]:
    if isinstance(feature, list) and feature:
        return _names_of(feature[0])
    if not isinstance(feature, dict):
        return ()
    if feature.get("_type") == "ClassLabel":
        return tuple(feature.get("names") or ())
    return _names_of(feature.get("feature"))
