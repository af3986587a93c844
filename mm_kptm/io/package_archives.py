"""Archives of the Python, npm and Debian registries: downloaded by their ordinary clients, and checked by their digest.

Archives that were checked stay in their folder, so a fetch that was stopped goes on with those that are missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import Literal

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import writing

Registry = Literal["pypi", "npm", "debian"]
_ENTRY = 60  #: bytes of the header of a file in an ar archive


_JOINTS = {"pypi": "==", "npm": "@", "debian": "="}  #: between a package and its version
_COMMANDS = {
    "pypi": (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"),
    "npm": ("npm", "pack", "--loglevel=error"),
    "debian": ("apt-get", "download", "--quiet"),
}


#: What the codes mean by which a client says why a download failed.
_REASONS = {
    "ENOSPC": "no space is left on the disk; free some and start again",
    **dict.fromkeys(
        ("ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ENETUNREACH"),
        "the registry cannot be reached",
    ),
    **dict.fromkeys(("E500", "E502", "E503", "E504"), "the registry is out of order; start again later"),
    "(from versions: none)": "the registry cannot be reached, or does not have it",  # pip says the same of both
}


@dataclass(frozen=True)
class PackageArchive:
    """One file of one version of a package.

    Args:
        package: its name.
        version: its version.
        registry: whose client downloads it.
        file: the name of the file.
        sha256: its digest, in hexadecimal; or
        sha512: this one, in which the npm registry states it.
    """

    package: str
    version: str
    registry: Registry
    file: str
    sha256: str = ""
    sha512: str = ""

    @property
    def digest(self) -> tuple[str, str]:
        """The name and the value of the digest that is checked."""
        return ("sha512", self.sha512) if self.sha512 else ("sha256", self.sha256)

    def found(self, folder: Path) -> Path:
        """The file in a folder.

        Raises:
            UserError: it is not there, or is not the file that was published.
        """
        path = folder / self.file
        if not folder.is_dir():
            raise UserError(f"{self.file} was looked for in {folder}, which is no folder; name one that holds it")
        if not path.is_file():
            raise UserError(f"{self.file} was looked for in {folder}, but it is not there; put it there")
        name, published = self.digest
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, name).hexdigest()
        if digest != published:
            raise UserError(
                f"{path} is not the published file: its {name.upper().replace('SHA', 'SHA-')} is {digest[:12]}..., not "
                f"{published[:12]}...; it was cut short or changed, so remove it and fetch it again"
            )
        return path

    def fetched(self, folder: Path) -> Path:
        """The file in a folder, downloaded into it first if it is not there.

        Raises:
            UserError: the download failed, or the file is not the one that was published.
        """
        if (folder / self.file).is_file():
            return self.found(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with writing(folder), tempfile.TemporaryDirectory(dir=folder) as draft:
            self._download(Path(draft))
            if not (Path(draft) / self.file).is_file():
                raise UserError(f"{self.package} {self.version} was downloaded, but it holds no {self.file}")
            self.found(Path(draft))
            shutil.move(Path(draft) / self.file, folder / self.file)
        return folder / self.file

    def _download(self, folder: Path) -> None:
        name = f"{self.package}{_JOINTS[self.registry]}{self.version}"
        command = [*_COMMANDS[self.registry], name]
        remedy = f"put {self.file} into a folder and name it by --archives"
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        except FileNotFoundError:
            raise UserError(f"{self.package} is downloaded by {command[0]}, which is not installed; {remedy}") from None
        except subprocess.TimeoutExpired:
            raise UserError(f"{name} was not downloaded within ten minutes; {remedy}") from None
        if done.returncode:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            why = next((line for line in said if "ERROR" in line or "code" in line), said[-1] if said else "no reason")
            why = next((reason for code, reason in _REASONS.items() if code in done.stderr), why)
            raise UserError(f"{name} could not be downloaded ({why.removeprefix('ERROR: ')[:120]}); {remedy}")

    def members(self, path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
        """The files of the archive whose names end in ``suffix``, in alphabetical order, with their content."""
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(suffix):
                        yield name, archive.read(name)
            return
        with _debian_data(path) if path.suffix == ".deb" else tarfile.open(path) as tar:
            for member in sorted(tar.getmembers(), key=lambda one: one.name):
                if member.isfile() and member.name.endswith(suffix) and (stream := tar.extractfile(member)) is not None:
                    yield member.name, stream.read()

    def licence(self, path: Path) -> str:
        """The licence that the package states."""
        if path.suffix == ".whl":
            (metadata,) = (content for _, content in self.members(path, ".dist-info/METADATA"))
            fields = Parser().parsestr(metadata.decode("utf-8"))
            return str(fields["License-Expression"] or fields["License"] or "not stated")
        if path.suffix == ".deb":
            stated = next((content for _, content in self.members(path, "/copyright")), b"").decode("utf-8")
            found = dict.fromkeys(re.findall(r"^License: *(\S.*?) *$", stated, re.MULTILINE))
            found = found or dict.fromkeys(re.findall(r"/common-licenses/([\w.+-]*\w)", stated))  # in older packages
            return ", ".join(found) or "not stated"
        manifest = next(content for name, content in self.members(path, "package.json") if name.count("/") == 1)
        return str(json.loads(manifest).get("license", "not stated"))


def _debian_data(path: Path) -> tarfile.TarFile:
    """The files that a Debian package installs: ``data.tar`` of its ar archive.

    Raises:
        UserError: it has none, or one that is compressed otherwise than by xz, gzip or bzip2.
    """
    content = path.read_bytes()
    place = 8  # behind the signature of the archive
    while place + _ENTRY <= len(content):
        name = content[place : place + 16].decode("ascii", "replace").strip().rstrip("/")
        size = int(content[place + 48 : place + 58])
        place += _ENTRY
        if name.startswith("data.tar"):
            try:
                return tarfile.open(fileobj=io.BytesIO(content[place : place + size]))
            except tarfile.ReadError:
                break
        place += size + size % 2
    raise UserError(f"{path} has no data.tar that can be read; it must be compressed by xz, gzip or bzip2")
