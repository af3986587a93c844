"""From one feature format to another, image by image, in constant memory."""

from __future__ import annotations

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
    """What a conversion did."""

    images: int = 0
    regions: int = 0
    dropped: set[str] = field(default_factory=set)  #: values of the source that the target has no place for
    rounded: bool = False  #: whether numbers became float16


class PictureSizes:
    """Sizes of the pictures of a folder, found by an image's id: the path, or the file name without its ending.

    Raises:
        UserError: the folder holds no picture.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: dict[str, str] = {}
        for name in pictures_in(folder):
            for key in (name, Path(name).name, Path(name).stem):
                self.paths.setdefault(key, name)

    def path(self, image: str) -> Path | None:
        """The picture of an image, or None."""
        key = next((key for key in (image, Path(image).stem) if key in self.paths), None)
        return None if key is None else inside(self.folder, self.paths[key])

    def size(self, image: str) -> tuple[int, int]:
        """Width and height of an image.

        Raises:
            UserError: it has no picture in the folder.
        """
        path = self.path(image)
        if path is None:
            raise UserError(f"image {image!r} has no picture in {self.folder}, so its size stays unknown")
        return picture_size(path)


def sized(images: Iterator[Detections], sizes: PictureSizes | None) -> Iterator[Detections]:
    """Images with the sizes of their pictures where their file does not say them."""
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
    """Write every image of ``source`` to ``target``; a contract beside the source is carried along.

    Args:
        source: a file or folder.
        kind: its format.
        target: what to write; it must not exist.
        target_kind: the format to write.
        sizes: pictures that say an image's size where its file does not.
        advance: told after every image how many more are done.

    Raises:
        UserError: a record is broken, or the target needs what the source does not hold.
    """
    done = Conversion(rounded=target_kind.float16 and not kind.float16)
    contract = contract_path(source)
    told = read_contract(contract) if contract.is_file() else None
    with target_kind.write(target) as add:
        for image in sized(kind.read(source), sizes):
            add(image)
            held = {*image.columns(), *(["size"] if image.size is not None else [])}
            done.dropped |= held - target_kind.keeps
            done.images += 1
            done.regions += len(image)
            if advance is not None:
                advance(1)
        if not done.images:
            raise UserError(f"{source} holds no image")
    if told is not None:
        dtype = "float16" if target_kind.float16 else told.dtype
        write_contract(replace(told, dtype=dtype), contract_path(target))
    return done
