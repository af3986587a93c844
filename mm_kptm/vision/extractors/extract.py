"""Extraction of region features from a folder of images: parallel decoding, batching, resumable store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from mm_kptm.data.images.decoding import MOST_PIXELS, read_picture
from mm_kptm.data.images.folders import links_out_of, pictures_in
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import sweep
from mm_kptm.io.lock import locked
from mm_kptm.vision.extractors.build import Built
from mm_kptm.vision.extractors.extractor import Picture, Prepare
from mm_kptm.vision.features.contract import CONTRACT, differences, read_contract, write_contract
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.store import INDEX
from mm_kptm.vision.features.store_writer import PROGRESS, StoreWriter


@dataclass
class Extraction:
    """Summary of an extraction."""

    images: int = 0  #: images in the store
    resumed: int = 0  #: images written by an earlier run
    skipped: list[tuple[str, str]] = field(default_factory=list)  #: unreadable images, and why


@dataclass(frozen=True)
class Broken:
    """Image that cannot be read."""

    name: str
    reason: str


class PictureFolder(Dataset[Picture | Broken]):
    """Dataset of decoded and prepared images of a folder; an unreadable one is a :class:`Broken`, not an exception.

    Args:
        folder: folder of the images.
        names: image paths relative to the folder.
        prepare: preprocessing of an image, [H, W, 3].
        most_pixels: limit on the pixels of a decoded image.
    """

    def __init__(self, folder: Path, names: list[str], prepare: Prepare, *, most_pixels: int = MOST_PIXELS) -> None:
        self.folder, self.names, self.prepare, self.most_pixels = folder, names, prepare, most_pixels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Picture | Broken:
        name = self.names[index]
        try:
            pixels = read_picture(self.folder / name, most_pixels=self.most_pixels)
        except UserError as error:
            return Broken(name, str(error))
        return Picture(name, (pixels.shape[1], pixels.shape[0]), self.prepare(pixels))


def extract(
    folder: Path,
    store: Path,
    built: Built,
    *,
    batch_size: int = 8,
    workers: int = 0,
    most_pixels: int = MOST_PIXELS,
    begin: Callable[[int, int], Callable[[int], None]] | None = None,
) -> Extraction:
    """Extract the regions of every image of a folder into a store; resumes an interrupted extraction.

    Args:
        folder: folder of images; the id of an image is its relative path.
        store: folder to write.
        built: extractor with its contract.
        batch_size: images per forward pass.
        workers: processes that decode and prepare images; 0: this process.
        most_pixels: limit on the pixels of a decoded image.
        begin: called with the number of images and of finished ones; returns a callback for further finished ones.

    Raises:
        UserError: the folder has no image, the store is finished already or from another extractor, or another process
            writes it.
    """
    names = pictures_in(folder)
    _check_contract(store, built)
    done = Extraction(skipped=[(name, "a link that leads out of the folder") for name in links_out_of(folder)])
    with locked(store, "store"), StoreWriter(store, resume=True) as writer:
        sweep(store)
        if not (store / CONTRACT).exists():
            write_contract(built.contract, store / CONTRACT)
        done.resumed = len(writer.images)
        left = [name for name in names if name not in writer.images]
        advance = begin(len(names), len(names) - len(left)) if begin else None
        for batch in _batches(PictureFolder(folder, left, built.prepare, most_pixels=most_pixels), batch_size, workers):
            pictures = [each for each in batch if isinstance(each, Picture)]
            done.skipped += [(each.name, each.reason) for each in batch if isinstance(each, Broken)]
            for image in _regions(built, pictures, done.skipped):
                try:
                    writer.add(image)
                except UserError as error:  # non-finite features: skip this image
                    done.skipped.append((image.image, str(error)))
            if advance:
                advance(len(batch))
        done.images = len(writer.images)
        if not done.images:
            name, reason = done.skipped[0]
            raise UserError(f"no picture of {len(names)} in {folder} gave regions; the first is {name}: {reason}")
    return done


def _regions(built: Built, pictures: list[Picture], skipped: list[tuple[str, str]]) -> list[Detections]:
    """Extract a batch; an image that the network cannot read, being too thin for it, is skipped by itself."""
    if not pictures:
        return []
    try:
        return built.extract(pictures)
    except RuntimeError as error:
        if len(pictures) > 1:
            return [image for one in pictures for image in _regions(built, [one], skipped)]
        (one,) = pictures
        size = f"{one.size[0]} x {one.size[1]} pixels"
        skipped.append((one.name, f"the network cannot read its {size} ({str(error).splitlines()[0]})"))
        return []


def _batches(pictures: PictureFolder, size: int, workers: int) -> Iterator[list[Picture | Broken]]:
    if not len(pictures):
        return iter(())
    # not stacked: images of a batch may have different sizes
    return iter(DataLoader(pictures, batch_size=size, num_workers=workers, collate_fn=partial(list)))


def _check_contract(store: Path, built: Built) -> None:
    """Refuse to resume a store of another extractor."""
    if (store / INDEX).exists() or not (store / PROGRESS).exists() or not (store / CONTRACT).exists():
        return
    begun = read_contract(store / CONTRACT)
    if broken := differences(begun, built.contract):
        raise UserError(
            f"{store} was begun with another extractor: {'; '.join(broken)}; go on with that one, or delete the folder"
        )


def extract_again(built: Built, path: Path, name: str) -> tuple[Detections, Detections]:
    """Extract one image twice: as it is, and with red and blue exchanged.

    Raises:
        UserError: the image cannot be read.
    """
    pixels = read_picture(path)
    size = (pixels.shape[1], pixels.shape[0])
    right, exchanged = (
        built.extract([Picture(name, size, built.prepare(np.ascontiguousarray(colours)))])[0]
        for colours in (pixels, pixels[:, :, ::-1])
    )
    return right, exchanged
