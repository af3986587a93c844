"""Conversion between feature formats, image by image, in constant memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mm_kptm.data.images.decoding import picture_size
from mm_kptm.data.images.folders import inside, pictures_in
from mm_kptm.errors import UserError
from mm_kptm.vision.features.contract import contract_path, read_contract, write_contract
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.format import Format


@dataclass
class Conversion:
    """Summary of a conversion."""

    images: int = 0
    regions: int = 0
    dropped: set[str] = field(default_factory=set)  #: source columns that the target cannot store
    rounded: bool = False  #: whether values were rounded to float16


class PictureSizes:
    """Image sizes from a folder of images, by image id.

    An id is the relative path, the file name with or without suffix, or the number at its end where one picture alone
    has it (``42`` for ``COCO_val2014_000000000042.jpg``).

    Raises:
        UserError: the folder holds no image.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: dict[str, str] = {}
        numbered: dict[str, list[str]] = {}
        for name in pictures_in(folder):
            for key in (name, Path(name).name, Path(name).stem):
                self.paths.setdefault(key, name)
            if number := re.search(r"\d+$", Path(name).stem):
                numbered.setdefault(str(int(number[0])), []).append(name)
        for key, names in numbered.items():
            if len(names) == 1:
                self.paths.setdefault(key, names[0])

    def path(self, image: str) -> Path | None:
        """Path of an image by id, or None."""
        key = next((key for key in (image, Path(image).stem) if key in self.paths), None)
        return None if key is None else inside(self.folder, self.paths[key])

    def size(self, image: str) -> tuple[int, int]:
        """Width and height of an image, in pixels.

        Raises:
            UserError: the folder has no such image.
        """
        path = self.path(image)
        if path is None:
            raise UserError(f"image {image!r} has no picture in {self.folder}, so its size stays unknown")
        return picture_size(path)


def sized(images: Iterator[Detections], sizes: PictureSizes | None) -> Iterator[Detections]:
    """Add missing image sizes from the image files."""
    for image in images:
        yield image if image.size is not None or sizes is None else replace(image, size=sizes.size(image.image))


def convert(
    source: Path,
    kind: Format,
    target: Path,
    target_kind: Format,
    *,
    sizes: PictureSizes | None = None,
    advance: Callable[[int], None] | None = None,
) -> Conversion:
    """Convert a feature file or folder to another format; the contract of the source is copied.

    Args:
        source: feature file or folder.
        kind: its format.
        target: path to write; must not exist.
        target_kind: the format to write.
        sizes: image files, for sizes that the source lacks.
        advance: called after every image with the number of newly converted images.

    Raises:
        UserError: a record is malformed, or the target needs values that the source lacks.
    """
    done = Conversion(rounded=target_kind.float16 and not kind.float16)
    contract = contract_path(source)
    source_contract = read_contract(contract) if contract.is_file() else None
    with target_kind.write(target) as add:
        for image in sized(kind.read(source), sizes):
            add(image)
            columns = {*image.columns(), *(["size"] if image.size is not None else [])}
            done.dropped |= columns - target_kind.keeps
            done.images += 1
            done.regions += len(image)
            if advance is not None:
                advance(1)
        if not done.images:
            raise UserError(f"{source} holds no image")
    if source_contract is not None:
        dtype = "float16" if target_kind.float16 else source_contract.dtype
        write_contract(replace(source_contract, dtype=dtype), contract_path(target))
    return done
