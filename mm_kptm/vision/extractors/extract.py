"""Region features of a folder of pictures: decoded by workers, batched, written to a store that survives a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from mm_kptm.data.images.decoding import MOST_PIXELS, read_picture
from mm_kptm.data.images.folders import pictures_in
from mm_kptm.errors import UserError
from mm_kptm.vision.extractors.build import Built
from mm_kptm.vision.extractors.extractor import Picture, Prepare
from mm_kptm.vision.features.contract import CONTRACT, differences, read_contract, write_contract
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.region_store import PROGRESS, DetectionWriter
from mm_kptm.vision.features.store import INDEX


@dataclass
class Extraction:
    """What an extraction did."""

    images: int = 0  #: pictures in the store
    resumed: int = 0  #: of them, those that an earlier run had written
    skipped: list[tuple[str, str]] = field(default_factory=list)  #: broken pictures, and why


@dataclass(frozen=True)
class Broken:
    """A picture that cannot be read."""

    name: str
    reason: str


class PictureFolder(Dataset[Picture | Broken]):
    """Pictures of a folder by name, decoded and prepared; a broken one is a value, not an error.

    Args:
        folder: where they lie.
        names: pictures below it, relative to it.
        prepare: what a network does with a picture, [H, W, 3], before it reads it.
        most_pixels: largest picture that is decoded.
    """

    def __init__(self, folder: Path, names: list[str], prepare: Prepare, *, most_pixels: int = MOST_PIXELS) -> None:
        self.folder, self.names, self.prepare, self.most_pixels = folder, names, prepare, most_pixels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> Picture | Broken:
        name = self.names[place]
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
    """Write the regions of every picture of a folder into a store; go on where a killed extraction stopped.

    Args:
        folder: pictures; the name of an image is its path below the folder.
        store: the folder to write.
        built: the extractor and its contract.
        batch_size: pictures read at once by the network.
        workers: processes that decode and prepare pictures; 0 for this one.
        most_pixels: largest picture that is decoded.
        begin: told the number of pictures and how many are done; gives what is told how many more are.

    Raises:
        UserError: there is no picture, a finished store is there already, or an unfinished one of another extractor.
    """
    names = pictures_in(folder)
    _check_contract(store, built)
    done = Extraction()
    with DetectionWriter(store, resume=True) as writer:
        if not (store / CONTRACT).exists():
            write_contract(built.contract, store / CONTRACT)
        done.resumed = len(writer.images)
        left = [name for name in names if name not in writer.images]
        advance = begin(len(names), len(names) - len(left)) if begin else None
        for batch in _batches(PictureFolder(folder, left, built.prepare, most_pixels=most_pixels), batch_size, workers):
            pictures = [each for each in batch if isinstance(each, Picture)]
            done.skipped += [(each.name, each.reason) for each in batch if isinstance(each, Broken)]
            for image in built.extract(pictures) if pictures else []:
                try:
                    writer.add(image)
                except UserError as error:  # numbers that are none: the extraction goes on
                    done.skipped.append((image.image, str(error)))
            if advance:
                advance(len(batch))
        done.images = len(writer.images)
        if not done.images:
            name, reason = done.skipped[0]
            raise UserError(f"no picture of {len(names)} in {folder} gave regions; the first is {name}: {reason}")
    return done


def _batches(pictures: PictureFolder, size: int, workers: int) -> Iterator[list[Picture | Broken]]:
    if not len(pictures):
        return iter(())
    # every tensor stays its own: pictures of a batch may have different sizes
    return iter(DataLoader(pictures, batch_size=size, num_workers=workers, collate_fn=partial(list)))


def _check_contract(store: Path, built: Built) -> None:
    """Refuse to go on with a store that another extractor began."""
    if (store / INDEX).exists() or not (store / PROGRESS).exists() or not (store / CONTRACT).exists():
        return
    begun = read_contract(store / CONTRACT)
    if broken := differences(begun, built.contract):
        raise UserError(
            f"{store} was begun with another extractor: {'; '.join(broken)}; go on with that one, or delete the folder"
        )


def extract_again(built: Built, path: Path, name: str) -> tuple[Detections, Detections]:
    """What an extractor says about one picture, and what it says with red and blue exchanged.

    Raises:
        UserError: the picture cannot be read.
    """
    pixels = read_picture(path)
    size = (pixels.shape[1], pixels.shape[0])
    right, exchanged = (
        built.extract([Picture(name, size, built.prepare(np.ascontiguousarray(colours)))])[0]
        for colours in (pixels, pixels[:, :, ::-1])
    )
    return right, exchanged
