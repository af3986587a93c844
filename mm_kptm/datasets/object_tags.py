"""Names of the objects that a detector found in an image, as text (Li et al. 2020, Oscar, section 3)."""

from __future__ import annotations

from functools import cache

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.stored_regions import ImageStore, detector_outputs
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.image_text import ImageTextLayout


class ObjectTags:
    """Ids of the names of an image's objects, each name once, in the order of its regions.

    Raises:
        UserError: the store holds no names.
    """

    def __init__(self, store: ImageStore, tokenizer: Tokenizer) -> None:
        found = detector_outputs(store)
        if found is None or "object_names" not in found.columns:
            raise UserError(f"data.tags are names of objects, but {store.folder} holds no object_names.npy")
        self._store = found
        self._tokenizer = tokenizer
        self._cached = cache(self._tags)

    def __call__(self, image: int) -> tuple[int, ...]:
        """Of the image at a place of the store."""
        return self._cached(image)

    def _tags(self, image: int) -> tuple[int, ...]:
        names = dict.fromkeys(self._store.image(image).object_names or ())
        return tuple(self._tokenizer.encode(" ".join(names)).ids)


def tags_of(store: ImageStore, tokenizer: Tokenizer, layout: ImageTextLayout) -> Packed:
    """What stands behind the texts about every image of a store: its tags and the [SEP] that ends them.

    Raises:
        UserError: the store holds no names, or the family has no place for them.
    """
    if layout.format.image_first or layout.slot != "none":
        what = "ends its questions with a [MASK]" if layout.slot != "none" else "puts the image before its texts"
        raise UserError(f"data.tags stand behind a text, but this system {what}; leave data.tags false")
    tags = ObjectTags(store, tokenizer)
    return Packed.of(ids=[(*tags(place), tokenizer.specials.stop) for place in range(len(store.lengths))])
