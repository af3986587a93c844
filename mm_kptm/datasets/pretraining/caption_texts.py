"""Texts about the images of a store and texts beside them, tokenized in memory or in a token store."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.formats.documents import read_sentences
from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.data.masking.units import joins
from mm_kptm.data.packing import Packed
from mm_kptm.data.text_store import StoredTexts, stored_texts
from mm_kptm.data.token_store import Tokenized, stored, tokenized
from mm_kptm.data.tokenizers.batch import IDS
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.object_tags import ObjectTags
from mm_kptm.datasets.pretraining.document_segments import PlainTexts
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.datasets.stored_regions import ImageStore
from mm_kptm.preprocessing.tokenized_captions import ImageTextTokenizer, TextsAboutImages
from mm_kptm.preprocessing.tokenized_documents import SentenceTokenizer, TokenizedDocuments
from mm_kptm.tasks.metrics.vqa import normalised
from mm_kptm.vision.objectives.lxmert import NO_ANSWER


def tokenized_captions(
    data: TextSettings,
    items: TextsAboutImages,
    tokenize: ImageTextTokenizer,
    files: Mapping[str, Path],
    *,
    folder: Path | None,
) -> Tokenized:
    """The texts, out of the token store of a folder if one is named.

    Args:
        data: settings of the tokenizer.
        items: reads the texts.
        tokenize: tokenizes them.
        files: that the texts and the classes of answers come from.
        folder: of the store; None: in memory.

    Raises:
        UserError: a file cannot be read, an image is not there, or the store was built from something else.
    """
    if folder is None:
        return tokenized(items(), tokenize)
    tags = {} if tokenize.tags is None else {"tags": hashlib.sha256(tokenize.tags.columns[IDS].tobytes()).hexdigest()}
    source = {
        **fingerprints({**files, **data.tokenizer_files}),
        "images": _digest(items),
        **tags,
        "caption_pairs": items.pairs,
        "layout": repr(tokenize.layout.format),
        "max_length": data.max_length,
        "languages": list(data.languages),
        "lowercase": data.lowercase,
        "ideographs": data.ideographs,
    }
    return stored(folder, items, tokenize, source=source)


def texts_alone(
    items: TextsAboutImages, files: Mapping[str, Path], *, folder: Path | None
) -> Sequence[str] | StoredTexts:
    """The texts as they are, in memory or on disk; arguments and errors as :func:`tokenized_captions`."""
    if folder is None:
        return [*items.texts()]
    return stored_texts(folder, items.texts, source={**fingerprints(files), "images": _digest(items)})


def plain_texts(
    data: TextSettings, tokenizer: Tokenizer, path: Path, *, max_length: int, folder: Path | None
) -> PlainTexts:
    """The texts of a file, a sentence a line and a blank line between documents.

    Args:
        data: settings of the tokenizer.
        tokenizer: that they make.
        path: the file.
        max_length: pieces of a text.
        folder: of a token store; None: in memory.

    Raises:
        UserError: the file cannot be read, or the store was built from something else.
    """
    tokenize = SentenceTokenizer(tokenizer, blanks := not joins(tokenizer.vocabulary))
    items = partial(read_sentences, path)
    if folder is None:
        return PlainTexts.of(TokenizedDocuments.read(tokenized(items(), tokenize)), max_length)
    source = {
        **fingerprints({"texts": path, **data.tokenizer_files}),
        "lowercase": data.lowercase,
        "ideographs": data.ideographs,
        "words_are_space_separated": blanks,
    }
    return PlainTexts.of(TokenizedDocuments.read(stored(folder, items, tokenize, source=source)), max_length)


def _digest(items: TextsAboutImages) -> str:
    """Of the names of the images."""
    return hashlib.sha256("\n".join(items.images.places).encode()).hexdigest()


def usual_answer(answers: Sequence[str]) -> str:
    """The most frequent answer; ties go to the first."""
    return Counter(map(normalised, answers)).most_common(1)[0][0]


def answer_classes(asked: Iterable[AskedImage], answers: Sequence[str]) -> NDArray[np.int32]:
    """The place of the usual answer of every question among ``answers``, :data:`NO_ANSWER` where it is not, [Q]."""
    number = {answer: place for place, answer in enumerate(answers)}
    classes = (number.get(usual_answer(one.answers), NO_ANSWER) if one.answers else NO_ANSWER for one in asked)
    return np.fromiter(classes, np.int32)


def tags_of_images(store: ImageStore, tokenizer: Tokenizer) -> Packed:
    """The names of the objects of every image, column ``ids``, [P]; ``UserError`` where the store holds no names."""
    tags = ObjectTags(store, tokenizer)
    return Packed.of(ids=[tags(place) for place in range(len(store.lengths))])
