"""Tokenized texts about images: captions, and questions behind them, in memory or in a token store.

Columns of rows are ``ids`` and ``segments``; columns of sequences are ``image``, its place among the images,
``language``, its id, and ``answer``, the class of a question's answer. Positions count from 0 in every text.

Shapes: S texts, T tokens of all of them, Q questions, P images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.formats.captions import Described
from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized
from mm_kptm.data.tokenizers.batch import IDS, encode_ids
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.image_text import ImageTextLayout

SEGMENTS, IMAGE, LANGUAGE, ANSWER = "segments", "image", "language", "answer"
MISSING = -1  #: the place of an image that is not there
WITHOUT_IMAGE = "images that are not there"  #: reason for which captions are dropped, counted by image


class TextAboutImage(NamedTuple):
    """A text and the image that it is about."""

    image: int  #: its place, or :data:`MISSING`
    text: str
    language: str
    answer: int  #: class of the answer, -1 for captions
    second: str = ""  #: another caption of the image that stands behind the text; empty: none


class NamedImages(Protocol):
    """Images by name."""

    @property
    def places(self) -> Mapping[str, int]:
        """Place of every image by its names."""

    def places_of(self, images: Iterable[str]) -> NDArray[np.int64]:
        """Places of images by name; ``UserError`` where one is not there."""


@dataclass(frozen=True, eq=False)
class TextsAboutImages:
    """Every caption of a file with its image, and behind them every question.

    Args:
        described: reads the images with their captions.
        images: the images by name.
        skip: whether captions of images that are not there are dropped.
        asked: reads the questions.
        answers: class of the answer of every question, [Q].
        pairs: whether the next caption of the image stands behind each, the first behind the last (Li et al. 2019,
            VisualBERT, section 3.3); images of one caption are left out.
    """

    described: Callable[[], Iterable[Described]]
    images: NamedImages
    skip: bool = False
    asked: Callable[[], Iterable[AskedImage]] | None = None
    answers: NDArray[np.integer] | None = None
    pairs: bool = False

    def __call__(self) -> Iterator[TextAboutImage]:
        """The texts, one at a time.

        Raises:
            UserError: a file cannot be read, or an image is not there.
        """
        known = self.images.places
        for one in self.described():
            name = next((name for name in one.names if name in known), one.names[0])
            if self.skip and name not in known:
                yield TextAboutImage(MISSING, "", one.language, -1)
                continue
            (place,) = self.images.places_of([name]).tolist()
            said = [text for _, text in one.captions]
            if not self.pairs:
                yield from (TextAboutImage(place, text, one.language, -1) for text in said)
            elif len(said) > 1:
                for text, second in zip(said, [*said[1:], said[0]], strict=True):
                    yield TextAboutImage(place, text, one.language, -1, second)
        if self.asked is not None and self.answers is not None:
            for question, answer in zip(self.asked(), self.answers.tolist(), strict=True):
                (place,) = self.images.places_of([question.image]).tolist()
                yield TextAboutImage(place, question.question, question.language, answer)

    def texts(self) -> Iterator[str]:
        """The texts alone, but those of images that are not there."""
        return (one.text for one in self() if one.image != MISSING)


@dataclass(frozen=True, eq=False)
class ImageTextTokenizer:
    """Tokenizes texts about images, many at once.

    Args:
        tokenizer: the tokenizer.
        layout: of a text beside its image.
        max_length: tokens of a text, special ones included.
        languages: in the order of the encoder's ids; none where it reads none.
        tags: names of the objects of every image, which stand behind the texts about it: column ``ids``, [P].
    """

    tokenizer: Tokenizer
    layout: ImageTextLayout
    max_length: int
    languages: tuple[str, ...] = ()
    tags: Packed | None = None

    def __call__(self, items: Sequence[TextAboutImage]) -> Tokenized:
        """The texts; those without an image are dropped and counted.

        Raises:
            UserError: a text is in a language that is not among ``languages``.
        """
        kept = [one for one in items if one.image != MISSING]
        by_language: dict[str, list[int]] = {}
        for place, one in enumerate(kept):
            by_language.setdefault(one.language, []).append(place)
        framed: list[tuple[list[int], list[int]]] = [([], [])] * len(kept)
        numbers = np.zeros(len(kept), np.int64)
        for language, places in by_language.items():
            numbers[places] = self._language(language)
            said = encode_ids(self.tokenizer, [kept[place].text for place in places], language)
            for place, ids in zip(places, said, strict=True):
                framed[place] = self._framed(ids, kept[place].image)
            paired = [place for place in places if kept[place].second]
            behind = encode_ids(self.tokenizer, [kept[place].second for place in paired], language)
            first = dict(zip(places, said, strict=True))
            for place, ids in zip(paired, behind, strict=True):
                framed[place] = self.layout.cut(first[place], ids, max_length=self.max_length)
        rows = Packed.of(**{IDS: [ids for ids, _ in framed], SEGMENTS: [segments for _, segments in framed]})
        dropped = len(items) - len(kept)
        return Tokenized(
            rows,
            {
                IMAGE: np.array([one.image for one in kept], dtype=np.int64),
                LANGUAGE: numbers,
                ANSWER: np.array([one.answer for one in kept], dtype=np.int64),
            },
            {WITHOUT_IMAGE: dropped} if dropped else {},
        )

    def _framed(self, ids: Sequence[int], image: int) -> tuple[list[int], list[int]]:
        """Ids and segments of a text; the names of what its image shows are cut where both are too long."""
        if self.tags is None:
            return self.layout(ids[: self.max_length - self.layout.num_special(1)])
        room = self.max_length - self.layout.num_special(2)
        first, end = self.tags.offsets[image : image + 2]
        names = self.tags.columns[IDS][first:end].tolist()
        return self.layout(ids[:room], names[: max(room - len(ids), 0)])

    def _language(self, language: str) -> int:
        if not self.languages:
            return 0
        known = [tag.lower() for tag in self.languages]
        if language.lower() not in known:
            raise UserError(
                f"an example is in {language!r}, but data.languages has {', '.join(self.languages)}; name it there"
            )
        return known.index(language.lower())
