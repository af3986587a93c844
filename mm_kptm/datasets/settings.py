"""Settings shared by all datasets in files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from mm_kptm.data.tokenizers.opening import open_tokenizer, tokenizer_files
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.boxed_pictures import BoxedPictures, listed_boxes
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.stored_regions import ImageStore, StoredRegions
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.systems.recipe import Recipe
from mm_kptm.tasks.vision.ranking import RankingSettings
from mm_kptm.vision.features.store import RegionStore

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Settings of the tokenization of text files."""

    name: str
    vocabulary: Path
    """The encoder's tokenizer: its vocab.txt or tokenizer.json, or a folder with one of these, RoBERTa's vocab.json and
    merges.txt (fairseq's encoder.json, vocab.bpe and dict.txt), or XLM's codes and vocab."""
    lowercase: bool = True  #: whether word pieces, or XLM's, are of an uncased model; others say it themselves
    ideographs: bool = True  #: whether text is cut at every ideograph; ERNIE of Tsinghua does not
    segment_words: bool | None = None
    """Whether XLM's pairs read running text, segmented into words first as XLM's tools do (Moses, and libraries for
    Chinese, Thai and Japanese). Unless said, transformers' vocab.json and merges.txt do, and XLM's own files do not."""
    max_length: int = 128  #: pieces of an example that are read, special ones included
    languages: tuple[str, ...] = ()  #: in the order of the encoder's language ids, where it reads them

    def __post_init__(self) -> None:
        if self.max_length < 8:
            raise UserError(f"data.max_length is {self.max_length} but must be at least 8")

    @property
    def tokenizer_files(self) -> dict[str, Path]:
        """The files of the tokenizer by their part in the data; ``UserError`` where there is none."""
        files = tokenizer_files(self.vocabulary)
        return {"vocabulary": files[0]} if len(files) == 1 else {f"vocabulary/{file.name}": file for file in files}

    def tokenizer(self) -> Tokenizer:
        """The tokenizer; ``UserError`` where the vocabulary cannot be read."""
        return open_tokenizer(
            self.vocabulary,
            lowercase=self.lowercase,
            ideographs=self.ideographs,
            segment_words=self.segment_words,
        )

    def language_ids(self, recipe: Recipe, own: Iterable[str] = ()) -> tuple[str, ...]:
        """The languages in the order of their ids, by one rule for all data.

        As ``languages`` says; else those that the recipe publishes, so that loaded rows are those of their languages;
        where it publishes none, those of the data.

        Args:
            recipe: of the encoder.
            own: languages of the data, in alphabetical order.

        Raises:
            UserError: the data are in a language that the recipe does not publish.
        """
        ids = self.languages or recipe.text.languages or tuple(own)
        if strange := [language for language in own if language not in ids]:
            raise UserError(
                f"the files are in {strange[0]!r}, but {recipe.name} numbers the languages {', '.join(ids)}; set "
                "data.languages to yours, in the order of their ids"
            )
        return ids

    @property
    def tokenization(self) -> dict[str, object]:
        """What the tokens of a text depend on, besides the text: digests of the tokenizer's files, and settings."""
        segmented = {} if self.segment_words is None else {"segment_words": self.segment_words}
        options = {"lowercase": self.lowercase, "ideographs": self.ideographs, **segmented}
        return {**fingerprints(self.tokenizer_files), **options}


@dataclass(frozen=True, kw_only=True)
class SplitFiles(TextSettings):
    """One file per split, or the files that a pattern fits, such as ``xnli/test-*.tsv``."""

    train: Path  #: examples to learn from
    dev: Path | None = None  #: examples to choose a model by
    test: Path | None = None  #: examples to measure it on; answers may be missing

    @property
    def files(self) -> dict[str, Path]:
        """The file of every split there is."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: path for split, path in given.items() if path is not None}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        return fingerprints({**self.files, **self.tokenizer_files})


@dataclass(frozen=True, kw_only=True)
class ImageSettings(TextSettings):
    """Texts about images, of which there are region features in a store, or the pictures themselves."""

    features: Path | None = None  #: a folder of region features of all the images
    images: Path | None = None  #: in their place, a folder of pictures; encoder.vision turns them into regions
    boxes: Path | None = None
    """Beside images, the boxes that encoder.vision turns into regions: a folder of region features, of which the boxes
    are read, or lines such as {"image": "a.jpg", "boxes": [[x1, y1, x2, y2]]} in pixels, with segms as in VCR."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.boxes is not None and self.images is None:
            raise UserError(
                f"data.boxes is {self.boxes}, boxes in pictures, but data.images is not set; name the folder of the "
                "pictures, or leave data.boxes out (region features come with boxes)"
            )
        if (self.features is None) == (self.images is None):
            given = "none is given" if self.features is None else "both are given"
            raise UserError(
                f"the images of an example are region features or pictures, but {given}; name data.features or "
                "data.images"
            )

    def store(self, request: DataRequest) -> ImageStore:
        """The images by name.

        Args:
            request: says how the encoder reads pictures.

        Raises:
            UserError: they cannot be read, or the encoder does not read what they are.
        """
        if self.features is not None:
            if request.pixels is not None:
                raise UserError(
                    f"encoder.vision makes regions of pictures, but data.features is {self.features}, regions that are "
                    "made already; give data.images, or leave encoder.vision out"
                )
            reads = request.recipe.published_sizes()
            return RegionStore(self.features, with_detections=bool(reads.get("num_region_classes")))
        if self.images is None or request.pixels is None:
            raise UserError(
                f"data.images is {self.images}, but the encoder reads regions of pictures; say what makes them as "
                "encoder.vision, such as {backbone: resnet50}"
            )
        pictures, cells = PictureFolder(self.images, request.pixels), request.pixels.grid is not None
        if self.boxes is None:
            if not cells:
                raise UserError(
                    "encoder.vision.regions is boxes, but data.boxes does not say which; name a folder of region "
                    "features, or lines of JSON with an image and its boxes"
                )
            return pictures
        if cells:
            raise UserError(
                f"data.boxes is {self.boxes}, but encoder.vision makes regions of the cells of a grid; set "
                "encoder.vision.regions to boxes, or leave data.boxes out"
            )
        if self.boxes.is_dir():
            return BoxedPictures(pictures, StoredRegions(RegionStore(self.boxes), boxes_alone=True))
        return BoxedPictures(pictures, listed_boxes(self.boxes, pictures))


@dataclass(frozen=True, kw_only=True)
class RegionFiles(ImageSettings, SplitFiles):
    """One file per split, about images."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        listed = {} if self.boxes is None or self.boxes.is_dir() else {"boxes": self.boxes}
        return {**super().fingerprints, **fingerprints(listed)}


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """Captions that are written for images."""

    caption_length: int = 20  #: pieces of a written caption, its end included; 20 in VLP, 39 in Oscar
    beam_size: int = 5  #: captions that the search keeps; 1 takes the best next word
    length_penalty: float = 0.0  #: added to the log-likelihood of a caption for each of its pieces
    tags: bool = False  #: whether the names of an image's objects stand behind a text about it, as Oscar reads them

    def __post_init__(self) -> None:
        for name in ("caption_length", "beam_size"):
            if getattr(self, name) < 1:
                raise UserError(f"data.{name} is {getattr(self, name)} but must be at least 1")


@dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
    """Rankings of images for texts, and of texts for images."""

    rerank: int | None = None  #: candidates that a first stage leaves to the cross-encoder; all pairs when null
    rerank_sample: int = 32  #: texts scored against all images as well, to measure what the first stage loses
    scores: Path | None = None  #: a folder that keeps scores, so that a ranking that was killed goes on

    def __post_init__(self) -> None:
        _ = self.ranking

    @property
    def ranking(self) -> RankingSettings:
        """How the candidates of a pool are ranked."""
        return RankingSettings(self.rerank, self.rerank_sample, self.scores)


def check_tags(tags: bool, ranking: RankingSettings) -> None:
    """Check ``data.tags`` of retrieval; ``UserError`` where a first stage encodes texts without the images."""
    if tags and ranking.rerank is not None:
        raise UserError(
            f"data.tags name the objects of an image behind each text that it is held against, but data.rerank is "
            f"{ranking.rerank}, with which texts are encoded without an image first; leave one of them out"
        )


def check_mask_rate(rate: float) -> None:
    """Check ``data.mask_rate``; ``UserError`` unless it is above 0 and below 1."""
    if not 0 < rate < 1:
        raise UserError(f"data.mask_rate is {rate} but must be a share of the tokens, above 0 and below 1")


def by_split(
    files: Mapping[str, Path], read: Callable[[Path], Sequence[T]], *, kept: Collection[str] | None = None
) -> Callable[[str], Sequence[T]]:
    """A function that reads the examples of a split.

    Args:
        files: of every split; a path with a star in its name stands for all files that it fits.
        read: the examples of a file.
        kept: splits that stay in memory, since their examples are asked for again; all of them unless given.
    """

    def examples(split: str) -> Sequence[T]:
        return [one for path in matching(files[split]) for one in read(path)]

    remembered = cache(examples)
    return lambda split: remembered(split) if kept is None or split in kept else examples(split)


def matching(path: Path) -> list[Path]:
    """The files that a pattern such as ``xnli/test-*.tsv`` fits, in order of their names; a path without a star alone.

    Raises:
        UserError: no file fits the pattern.
    """
    if "*" not in str(path):
        return [path]
    fixed = next(parent for parent in path.parents if "*" not in str(parent))
    found = sorted(fixed.glob(str(path.relative_to(fixed))))
    if not found:
        raise UserError(f"no file fits {path}; the files of each language were expected there")
    return found


def fingerprints(files: Mapping[str, Path]) -> dict[str, str]:
    """The digest of every file, or of those in a folder, by its part in the data; ``UserError`` for one not there."""
    found = {}
    each = {
        part if member == file else f"{part}/{member.parent.name}/{member.name}": member
        for part, file in files.items()
        for member in matching(file)
    }
    members = {
        f"{part}/{member.relative_to(file)}" if file.is_dir() else part: member
        for part, file in each.items()
        for member in (sorted(one for one in file.rglob("*") if one.is_file()) if file.is_dir() else [file])
    }
    for part, file in members.items():
        if not file.is_file():
            raise UserError(f"{file} was to be read, but there is no such file")
        with file.open("rb") as stream:
            found[part] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
