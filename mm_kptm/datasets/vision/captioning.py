"""Captioning of COCO and Flickr30k images, and the file that COCO's server takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from mm_kptm.data.formats.captions import Described, read_karpathy
from mm_kptm.datasets.object_tags import ObjectTags
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import CaptionSettings, fingerprints
from mm_kptm.datasets.stored_regions import ImageStore, provider_of
from mm_kptm.datasets.vision.coco_flickr30k import KarpathyData
from mm_kptm.datasets.vision.sources import encoding_of, sizes_of, stored
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import read_listed
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.vision.captioning import HEAD, CaptionFormat, CaptioningSource, ImageCaptioning


class Captions:
    """Images with captions as sources of captioning, in the form of a family of encoders.

    Args:
        settings: of the written captions.
        encoding: how text becomes ids.
        store: region features of the images.

    Raises:
        UserError: tags are asked of a family that has no place for them, or of a store without names.
    """

    def __init__(self, settings: CaptionSettings, encoding: TextEncoding, store: ImageStore) -> None:
        if settings.tags and encoding.format.image_first:
            raise UserError("data.tags stand behind a caption, but vlp reads captions alone; leave data.tags false")
        self.settings = settings
        self.encoding = encoding
        self.store = store
        self.tags = ObjectTags(store, encoding.tokenizer) if settings.tags else None
        self.format = CaptionFormat.of(encoding.format, encoding.tokenizer, max_words=settings.caption_length)

    def model(self, system: System) -> ImageCaptioning:
        """The task on a system."""
        return ImageCaptioning(
            system,
            self.format,
            self.encoding.tokenizer,
            beam_size=self.settings.beam_size,
            length_penalty=self.settings.length_penalty,
        )

    def source(self, examples: Sequence[Described], *, every_caption: bool) -> CaptioningSource:
        """The images of a split.

        Args:
            examples: images with their captions; those without one are written for, and not measured.
            every_caption: an example for every caption, to learn from, in place of one for every image.

        Raises:
            UserError: the store lacks an image.
        """
        places = stored(self.store, [one.names for one in examples]).tolist()
        chosen = [
            (one, place, caption)
            for one, place in zip(examples, places, strict=True)
            for caption in (one.captions if every_caption else [one.captions[0] if one.captions else ("", "")])
        ]
        tags = None if self.tags is None else [self.tags(place) for _, place, _ in chosen]
        stop = self.encoding.tokenizer.specials.stop
        return CaptioningSource(
            shown=self._shown(
                [(text, one.language) for one, _, (_, text) in chosen], [at for _, at, _ in chosen], tags
            ),
            objective=self.format.objective,
            references=tuple(tuple(text for _, text in one.captions) for one, _, _ in chosen),
            about=tuple(
                Example(
                    id=caption[0] if every_caption else one.names[0],
                    type="image",
                    language=one.language,
                    group=f"image-{one.names[0]}",
                    target=one.captions[0][1] if one.captions else "",
                )
                for one, _, caption in chosen
            ),
            tags=None if tags is None else tuple((*names, stop) for names in tags),
        )

    def _shown(
        self, said: Sequence[tuple[str, str]], images: Sequence[int], tags: Sequence[tuple[int, ...]] | None
    ) -> InputSource:
        encode, room = self.encoding.tokenizer.encode, self.settings.caption_length - 1
        layout = ImageTextLayout(self.encoding.tokenizer.specials, self.encoding.format)
        words = [encode(text, language).ids[:room] for text, language in said]
        parts = [(own,) for own in words] if tags is None else list(zip(words, tags, strict=True))
        framings = [layout(*each) for each in parts]
        first, before = self.format.decoding.tag_position, len(self.format.decoding.start)
        positions = [
            [*range(behind := before + len(own) + 1), *range(first, first + len(ids) - behind)]
            for own, (ids, _) in zip(words, framings, strict=True)
        ]
        packed = self.encoding.pack(framings, [language for _, language in said], positions=positions)
        return InputSource(packed, provider_of(self.store), np.array(images, dtype=np.int64))


def captioning(data: KarpathyData, request: DataRequest) -> PreparedData:
    """Captions of photographs in the splits of Karpathy and Fei-Fei (2015)."""
    encoding = encoding_of(data, request.recipe)
    store = data.store(request)
    captions = Captions(data, encoding, store)

    @cache
    def splits() -> Mapping[str, list[Described]]:
        found: dict[str, list[Described]] = {}
        for image in read_karpathy(data.captions):
            found.setdefault(image.split or "train", []).append(image)
        return found

    def source(split: str) -> CaptioningSource:
        return captions.source(splits()[split], every_caption=split == "train")

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        path = folder / f"captions-{split}.json"
        write_captions(rows, splits()[split], path)
        check(split, path)
        return [path]

    def check(split: str, path: Path) -> None:
        check_captions(path, splits()[split])

    return PreparedData(
        sources={split: partial(source, split) for split in splits()},
        model=captions.model,
        sizes=sizes_of(encoding, store),
        heads={HEAD: {}},
        fingerprints=fingerprints({"captions": data.captions, **data.tokenizer_files}),
        read_file=lambda path: captions.source(read_karpathy(path), every_caption=False),
        submit=submit,
        check=check,
    )


def write_captions(rows: Sequence[Row], images: Sequence[Described], path: str | Path) -> None:
    """The file that COCO's caption server takes: a list of ``{"image_id": .., "caption": ..}``.

    Raises:
        UserError: an image has no number, as in Flickr30k, which no server evaluates.
    """
    numbers = _numbers(images)
    written = [{"image_id": numbers[str(row["id"])], "caption": str(row["answer"])} for row in rows]
    write_json(path, written, ascii_only=True)


def check_captions(path: str | Path, images: Sequence[Described]) -> None:
    """Reject a file that COCO's server would reject or score wrongly.

    Raises:
        UserError: an entry without the two fields, an image that is missing, foreign or there twice, or has no number.
    """
    asked = set(_numbers(images).values())
    seen: set[int] = set()
    for entry in read_listed(path):
        number = entry.get("image_id", int)
        entry.get("caption", str)
        if set(entry.values) != {"image_id", "caption"}:
            raise UserError(f"{entry.place} must have the fields image_id and caption and no other")
        if number not in asked or number in seen:
            wrong = "was described before" if number in seen else "is not one of the split"
            raise UserError(f"{entry.place}: image {number} {wrong}")
        seen.add(number)
    if missing := asked - seen:
        raise UserError(f"{path} describes {len(missing)} images not at all, the first of them {min(missing)}")


def _numbers(images: Sequence[Described]) -> dict[str, int]:
    """The number of every image in COCO, by its file name."""
    for image in images:
        if not image.names[-1].isdecimal():
            raise UserError(f"COCO's server knows images by number, but {image.names[0]} has none (cocoid) in its file")
    return {image.names[0]: int(image.names[-1]) for image in images}


CAPTIONING_SUPPLY = TaskDataset(ImageCaptioning, KarpathyData, captioning, read_karpathy)
