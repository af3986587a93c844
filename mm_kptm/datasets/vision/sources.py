"""Sources of image-text examples: captions, referring expressions, questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mm_kptm.data.formats.captions import Described, Pointed, overlap
from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.object_tags import tags_of
from mm_kptm.datasets.settings import TextSettings
from mm_kptm.datasets.stored_regions import ImageStore, provider_of, region_sizes
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource, IntArray
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.systems.recipe import Recipe
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.metrics.vqa import normalised, soft_scores
from mm_kptm.tasks.vision.grounding import NOWHERE, ExpressionSource
from mm_kptm.tasks.vision.retrieval import Captioned, CaptionSource
from mm_kptm.tasks.vision.vqa import QuestionSource

EXPRESSION = "expression"  #: the type of expressions whose file names no split
FOUND = 0.5  #: overlap with the object from which on a region counts as found, as is usual


def captions(
    examples: Sequence[Described],
    encoding: TextEncoding,
    store: ImageStore,
    *,
    pool: int | None = None,
    tags: bool = False,
) -> CaptionSource:
    """Captions of images.

    Args:
        examples: images with their captions.
        encoding: how text becomes ids.
        store: region features or pictures of the images.
        pool: so many images are searched at a time, in their order (1,000 for the folds of COCO); all when None.
        tags: whether the names of an image's objects stand behind every text that it is held against.

    Raises:
        UserError: the store lacks an image, or there are fewer than two; tags as in :func:`tags_of`.
    """
    places = stored(store, [one.names for one in examples])
    size = len(examples) if pool is None else pool
    last = max(len(examples) // size - 1, 0) if size else 0
    said = [(image, id_, text, one.language) for image, one in enumerate(examples) for id_, text in one.captions]
    shown = about_images(
        encoding, store, [(text, language) for *_, text, language in said], [places[at] for at, *_ in said], tags=tags
    )
    about = tuple(Captioned(id_, language, f"image-{examples[at].names[0]}") for at, id_, _, language in said)
    return CaptionSource(shown, about, np.array([min(at // size, last) for at, *_ in said], dtype=np.int64))


def expressions(examples: Sequence[Pointed], encoding: TextEncoding, store: ImageStore) -> ExpressionSource:
    """Expressions; regions that overlap the object by half are right, the one that does so most is the target.

    Raises:
        UserError: the store lacks an image or has no region of it.
    """
    places = stored(store, [one.names for one in examples])
    right, shares, targets, about = [], [], [], []
    for one, place in zip(examples, places.tolist(), strict=True):
        boxes = store.boxes[store.offsets[place] : store.offsets[place + 1]].tolist()
        if not boxes:
            raise UserError(f"{store.folder} has no region of image {one.names[0]!r}, so there is nothing to point at")
        overlaps = [0.0] * len(boxes) if one.box is None else [overlap(box, one.box) for box in boxes]
        best = max(range(len(boxes)), key=overlaps.__getitem__)
        found = overlaps[best] >= FOUND
        right.append([int(share >= FOUND) for share in overlaps])
        shares += overlaps
        targets.append(best if found else NOWHERE)
        target = "" if one.box is None else str(best) if found else "none"
        about.append(Example(one.id, one.split or EXPRESSION, one.language, f"image-{one.names[0]}", target))
    shown = about_images(encoding, store, [(one.text, one.language) for one in examples], places)
    found_there = Packed.of(right=right)
    columns = {**found_there.columns, "overlaps": np.array(shares, dtype=np.float32)}
    return ExpressionSource(shown, Packed(found_there.offsets, columns), tuple(targets), tuple(about))


def questions(
    examples: Sequence[AskedImage],
    answers: Sequence[str],
    encoding: TextEncoding,
    store: ImageStore,
    *,
    tags: bool = False,
) -> QuestionSource:
    """Questions with one answer, or with what ten people answered (VQA v2's soft scores).

    Args:
        examples: the questions.
        answers: the labels to choose from.
        encoding: how text becomes ids.
        store: region features or pictures of the images.
        tags: whether the names of an image's objects stand behind every question about it.

    Raises:
        UserError: the store lacks an image, or no question has an answer among the labels; tags as in :func:`tags_of`.
    """
    place = {answer: number for number, answer in enumerate(answers)}
    worth = [
        {place[answer]: tenths for answer, tenths in _tenths(one.answers).items() if answer in place}
        for one in examples
    ]
    check_answers([one.answers for one in examples], worth, answers)
    about = tuple(
        Example(
            id=one.id,
            type=one.type,
            language=one.language,
            group=f"image-{one.image}",
            target=usual(one.answers) if one.answers else "",
            given_answers=one.answers if len(one.answers) > 1 else (),
        )
        for one in examples
    )
    shown = about_images(
        encoding,
        store,
        [(one.question, one.language) for one in examples],
        store.places_of(one.image for one in examples),
        asks=True,
        tags=tags,
    )
    scores = Packed.of(answers=[list(row) for row in worth], tenths=[list(row.values()) for row in worth])
    return QuestionSource(shown, tuple(answers), scores, about)


def parts_about_images(
    encoding: TextEncoding,
    store: ImageStore,
    said: Sequence[tuple[Sequence[str], str]],
    images: Sequence[int] | IntArray,
    *,
    segments: Sequence[int] = (),
) -> InputSource:
    """Texts of several parts, each with the image that it is about; the longest part is cut first.

    Args:
        encoding: how text becomes ids.
        store: region features or pictures of the images.
        said: the parts of each text and their language.
        images: the place of each one's image in the store.
        segments: of the parts in turn; those of the family's layout when empty.
    """
    encode, layout = encoding.tokenizer.encode, ImageTextLayout(encoding.tokenizer.specials, encoding.format)
    framings = []
    for parts, language in said:
        ids, kinds = layout.cut(*(encode(part, language).ids for part in parts), max_length=encoding.max_length)
        framings.append((ids, [segments[kind] for kind in kinds] if segments else kinds))
    texts = encoding.pack(framings, [language for _, language in said])
    return InputSource(texts, provider_of(store), np.asarray(images, dtype=np.int64))


def encoding_of(data: TextSettings, recipe: Recipe) -> TextEncoding:
    """How texts about images become ids, for the systems of a recipe."""
    return TextEncoding(data.tokenizer(), data.max_length, data.languages, format=recipe.text)


def sizes_of(encoding: TextEncoding, store: ImageStore) -> dict[str, int]:
    """Sizes of an encoder of texts about images that follow from the data."""
    return {"vocab_size": len(encoding.tokenizer), **region_sizes(store)}


def usual(answers: Sequence[str]) -> str:
    """The most frequent answer, normalised as in the evaluation; ties go to the first."""
    return Counter(map(normalised, answers)).most_common(1)[0][0]


def stored(store: ImageStore, names: Iterable[Sequence[str]]) -> IntArray:
    """The place of every image, under the first of its names that the store knows.

    Raises:
        UserError: it knows none.
    """
    known = store.places
    return store.places_of(next((name for name in several if name in known), several[0]) for several in names)


def _tenths(answers: Sequence[str]) -> dict[str, int]:
    if len(answers) == 1:
        return {normalised(answers[0]): 10}
    return {answer: round(10 * score) for answer, score in soft_scores(answers).items()}


def about_images(
    encoding: TextEncoding,
    store: ImageStore,
    said: Sequence[tuple[str, str]],
    images: Sequence[int] | IntArray,
    *,
    asks: bool = False,
    tags: bool = False,
) -> InputSource:
    """Texts, each with the image that it is about.

    Args:
        encoding: how text becomes ids; ``format`` says how they are laid out.
        store: region features or pictures of the images.
        said: text and language of each.
        images: the place of each one's image in the store.
        asks: whether they are questions that are answered from a vocabulary.
        tags: whether the names of an image's objects stand behind its texts.

    Raises:
        UserError: as :func:`tags_of`.
    """
    encode, layout = encoding.tokenizer.encode, ImageTextLayout(encoding.tokenizer.specials, encoding.format, asks)
    framings = [layout.cut(encode(text, language).ids, max_length=encoding.max_length) for text, language in said]
    texts = encoding.pack(framings, [language for _, language in said])
    names = tags_of(store, encoding.tokenizer, layout) if tags else None
    return InputSource(texts, provider_of(store), np.asarray(images, dtype=np.int64), tags=names)


def check_answers(given: Sequence[Sequence[str]], worth: Sequence[object], answers: Sequence[str]) -> None:
    """Reject questions of which none has an answer that can be chosen, so that every score would be zero.

    Args:
        given: what people answered to each question; empty where nobody did.
        worth: the answers among these that can be chosen; empty for none.
        answers: those to choose from.

    Raises:
        UserError: there are answers, but none can be chosen.
    """
    known = [people[0] for people in given if people]
    if known and not any(worth):
        raise UserError(
            f"none of {len(known)} questions has an answer among the {len(answers)} that the model chooses from; the "
            f"first is answered {known[0]!r}, and the choices begin with {', '.join(map(repr, answers[:3]))}"
        )
