"""Pictures with captions in files of any of four kinds: WebDataset tars, Parquet, CSV or TSV, and JSON lines.

Every file is a :class:`Shard` of examples that can be read in any order. A picture is bytes in a tar or in a column of
Parquet, or the name of a file in a folder.
"""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from mm_kptm.data.formats.tar_shards import TarExample, read_bytes, read_caption, read_tar_index
from mm_kptm.data.images.folders import inside
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.records import read_lines
from mm_kptm.io.text_lines import read_text

IMAGE_COLUMNS = ("image", "jpg", "img", "picture", "image_path", "path", "file", "file_name", "filepath", "filename")
TEXT_COLUMNS = ("text", "caption", "title", "captions", "sentence")
LANGUAGE_COLUMNS = ("language", "lang")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read; None: the first of the usual names that is there."""

    image: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Caption:
    """A text about a picture."""

    id: str
    text: str
    language: str = "en"


class Shard(ABC):
    """A file of examples."""

    path: Path

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def caption(self, index: int) -> Caption:
        """The text of an example; ``UserError`` where it is malformed."""

    @abstractmethod
    def picture(self, index: int) -> tuple[bytes, str]:
        """The encoded picture of an example, and what to call it; ``UserError`` where there is none."""


@dataclass(frozen=True)
class TarShard(Shard):
    """A WebDataset tar."""

    path: Path
    examples: Sequence[TarExample]

    def __len__(self) -> int:
        return len(self.examples)

    def caption(self, index: int) -> Caption:
        example = self.examples[index]
        return Caption(example.key, read_caption(self.path, example))

    def picture(self, index: int) -> tuple[bytes, str]:
        example = self.examples[index]
        return read_bytes(self.path, example.picture), f"{example.key} in {self.path}"


@dataclass(frozen=True)
class TableShard(Shard):
    """Rows in memory that name files of a folder."""

    path: Path
    rows: Sequence[tuple[str, str, str]]  #: name of the picture, text, language
    folder: Path

    def __len__(self) -> int:
        return len(self.rows)

    def caption(self, index: int) -> Caption:
        _, text, language = self.rows[index]
        return Caption(f"{self.path.stem}-{index}", text, language)

    def picture(self, index: int) -> tuple[bytes, str]:
        return _file(self.folder, self.rows[index][0])


@dataclass(frozen=True)
class ParquetShard(Shard):
    """A Parquet file; its row groups are read one at a time."""

    path: Path
    image: str
    text: str
    language: str | None
    ends: tuple[int, ...]  #: of the row groups
    folder: Path

    def __len__(self) -> int:
        return self.ends[-1]

    def caption(self, index: int) -> Caption:
        group, row = self._place(index)
        columns = (self.text,) if self.language is None else (self.text, self.language)
        read = _row_group(self.path, group, columns)
        value = read[self.text][row].as_py()
        value = value[0] if isinstance(value, list) and value else value
        if not isinstance(value, str):
            raise UserError(f"{self.path}, row {index}: {self.text!r} must be a text, but it is {value!r:.40}")
        spoken = "en" if self.language is None else str(read[self.language][row].as_py())
        return Caption(f"{self.path.stem}-{index}", value, spoken)

    def picture(self, index: int) -> tuple[bytes, str]:
        group, row = self._place(index)
        value = _row_group(self.path, group, (self.image,))[self.image][row].as_py()
        if isinstance(value, dict):  # the form of Hugging Face's datasets
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value, f"{index} in {self.path}"
        if isinstance(value, str):
            return _file(self.folder, value)
        raise UserError(f"{self.path}, row {index}: {self.image!r} holds neither bytes nor the name of a file")

    def _place(self, index: int) -> tuple[int, int]:
        group = bisect_right(self.ends, index)
        return group, index - (self.ends[group - 1] if group else 0)


@dataclass(frozen=True)
class Shards(Sequence[tuple[Shard, int]]):
    """Several files end to end."""

    shards: tuple[Shard, ...]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(shard) for shard in self.shards))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:  # as Sequence overloads it for slices
        """The file of an example, and its number there."""
        shard = bisect_right(self._ends, index)
        return self.shards[shard], index - (self._ends[shard - 1] if shard else 0)

    def caption(self, index: int) -> Caption:
        """The text of an example."""
        shard, place = self[index]
        return shard.caption(place)

    def picture(self, index: int) -> tuple[bytes, str]:
        """The encoded picture of an example, and what to call it."""
        shard, place = self[index]
        return shard.picture(place)


def open_shards(pattern: Path, *, columns: Columns | None = None, folder: Path | None = None) -> Shards:
    """Open the files that a pattern names: ``shards/*.tar`` or ``shards/{000..127}.tar``.

    Args:
        pattern: of files of one kind or several.
        columns: of tables.
        folder: that names of pictures lead from; that of the table unless given.

    Raises:
        UserError: no file fits, one is of no known kind, cut short, empty, or lacks a column.
    """
    return Shards(tuple(_open(path, columns or Columns(), folder or path.parent) for path in expanded(pattern)))


def expanded(pattern: Path) -> list[Path]:
    """The files that a pattern names, in order.

    Raises:
        UserError: none fits.

    >>> [path.name for path in expanded(Path("train-{08..10}.tar"))]
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    if found := _RANGE.search(pattern.name):
        first, last = found.groups()
        names = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
        start, end = pattern.name[: found.start()], pattern.name[found.end() :]
        paths = [pattern.with_name(start + name + end) for name in names]
    else:
        paths = sorted(pattern.parent.glob(pattern.name)) if "*" in pattern.name else [pattern]
    if not paths:
        raise UserError(f"no file fits {pattern}; name a file, or files as shards/*.tar or shards/{{000..127}}.tar")
    return paths


def _open(path: Path, columns: Columns, folder: Path) -> Shard:
    kind = path.suffix.lower()
    if kind in (".tar", ".gz", ".tgz"):
        return TarShard(path, read_tar_index(path))
    if kind in (".parquet", ".pq"):
        return _parquet(path, columns, folder)
    if kind in (".csv", ".tsv"):
        return TableShard(path, _table(path, columns, "," if kind == ".csv" else "\t"), folder)
    if kind in (".jsonl", ".ndjson"):
        return TableShard(path, _json_lines(path, columns), folder)
    raise UserError(f"{path} is no file of pictures with texts; .tar, .parquet, .csv, .tsv and .jsonl are read")


def _table(path: Path, columns: Columns, delimiter: str) -> list[tuple[str, str, str]]:
    lines = read_text(path, "a table of pictures and texts").splitlines(keepends=True)
    plain = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    reader = csv.DictReader(lines) if delimiter == "," else plain
    image, text, language = _chosen(path, reader.fieldnames or (), columns)
    rows = []
    for row in reader:
        if not row[image] or row[text] is None:
            raise UserError(f"{path}, line {reader.line_num}: a row has no {image if not row[image] else text!r}")
        rows.append((row[image], row[text], (row[language] if language else None) or "en"))
    if not rows:
        raise UserError(f"{path} has a first line that names its columns, and no row behind it")
    return rows


def _json_lines(path: Path, columns: Columns) -> list[tuple[str, str, str]]:
    rows = []
    for record in read_lines(path):
        image, text, language = _chosen(Path(record.place), list(record.values), columns)
        said = record.values[text]
        captions = [str(one) for one in said] if isinstance(said, list) else [record.get(text, str)]
        rows += [(record.get(image, str), one, record.text(language, "en") if language else "en") for one in captions]
    return rows


def _parquet(path: Path, columns: Columns, folder: Path) -> ParquetShard:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except FileNotFoundError:
        raise UserError(f"{path} was to be read, but there is no such file") from None
    except Exception as error:  # pyarrow's errors share no base of their own
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    image, text, language = _chosen(path, names, columns)
    if not sum(sizes):
        raise UserError(f"{path} holds no row")
    return ParquetShard(path, image, text, language, tuple(accumulate(sizes)), folder)


def _chosen(path: Path, names: Sequence[str], columns: Columns) -> tuple[str, str, str | None]:
    """The columns of pictures, texts and languages among those of a table."""
    found = []
    for what, asked, usual in (("image", columns.image, IMAGE_COLUMNS), ("text", columns.text, TEXT_COLUMNS)):
        name = next((one for one in ((asked,) if asked else usual) if one in names), None)
        if name is None:
            missing = f"no column {asked!r}" if asked else f"no column of {what}s by a usual name ({', '.join(usual)})"
            close = nearest(asked, names, otherwise="") if asked else ""
            raise UserError(f"{path} has {missing}; it has {', '.join(names)}{close}; name it as data.{what}_column")
        found.append(name)
    return found[0], found[1], next((one for one in LANGUAGE_COLUMNS if one in names), None)


@lru_cache(maxsize=8)
def _row_group(path: Path, group: int, columns: tuple[str, ...]) -> Any:
    """Columns of a row group; the last few are kept in memory."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=list(columns))


def _file(folder: Path, name: str) -> tuple[bytes, str]:
    path = inside(folder, name)
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise UserError(f"picture {path} cannot be read: {error.strerror}") from None
