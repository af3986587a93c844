"""Texts about the images of a store, tokenized in memory or in a token store, and what these tokens depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized, stored, tokenized
from mm_kptm.data.tokenizers.batch import IDS
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.object_tags import ObjectTags
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.datasets.stored_regions import ImageStore
from mm_kptm.preprocessing.tokenized_captions import ImageTextTokenizer, TextsAboutImages


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
        "images": hashlib.sha256("\n".join(items.images.places).encode()).hexdigest(),
        **tags,
        "layout": repr(tokenize.layout.format),
        "max_length": data.max_length,
        "languages": list(data.languages),
        "lowercase": data.lowercase,
        "ideographs": data.ideographs,
    }
    return stored(folder, items, tokenize, source=source)


def tags_of_images(store: ImageStore, tokenizer: Tokenizer) -> Packed:
    """The names of the objects of every image, column ``ids``, [P]; ``UserError`` where the store holds no names."""
    tags = ObjectTags(store, tokenizer)
    return Packed.of(ids=[tags(place) for place in range(len(store.lengths))])
