"""Reading of the archives that Atlas is built from."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.io.package_archives import PackageArchive


@dataclass(frozen=True)
class Opened:
    """The files of one archive, read into memory once."""

    archive: PackageArchive
    path: Path

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """Content by name of the JSON and SVG files, in alphabetical order.

        Raises:
            UserError: the archive breaks off.
        """
        try:
            return dict(sorted(self._read()))
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise UserError(f"{self.path} cannot be read ({error}); remove it and fetch it again") from None

    def _read(self) -> Iterator[tuple[str, bytes]]:
        if self.path.suffix == ".whl":
            with zipfile.ZipFile(self.path) as archive:
                for name in archive.namelist():
                    if name.endswith("/countries.json"):
                        yield name, archive.read(name)
            return
        with tarfile.open(self.path) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.name.endswith((".json", ".svg")) else None
                if stream is not None:
                    yield member.name, stream.read()

    def json(self, name: str) -> Any:
        """One JSON file.

        Raises:
            UserError: the archive has none of that name.
        """
        if name not in self.files:
            raise UserError(f"{self.archive.file} holds no {name}; it is not the package that was expected")
        return json.loads(self.files[name])

    def __contains__(self, name: object) -> bool:
        return name in self.files


#: Opens an archive: from a folder, or downloaded first.
Opener = Callable[[PackageArchive], Opened]


def opener(folder: Path, *, download: bool) -> Opener:
    """Opens archives of a folder; those that are missing are downloaded into it where ``download`` says so."""

    def opened(archive: PackageArchive) -> Opened:
        return Opened(archive, archive.fetched(folder) if download else archive.found(folder))

    return opened
