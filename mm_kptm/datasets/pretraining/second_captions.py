"""Two captions of one image in a text, which VisualBERT is pretrained on."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.data.formats.captions import Described
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.image_text import ImageTextLayout


def second_captions(
    described: Sequence[tuple[Described, str]], tokenizer: Tokenizer, layout: ImageTextLayout, max_length: int
) -> tuple[list[tuple[list[int], list[int]]], list[tuple[str, str]]]:
    """Each caption with the next of its image behind it, the first behind the last (Li et al. 2019, section 3.3).

    Args:
        described: images with their captions, and their names in the store; those of one caption are left out.
        tokenizer: of the captions.
        layout: of a text of two parts.
        max_length: tokens of a text; the longer caption is cut.

    Returns:
        Ids and segments of every text; its image and its language.

    Raises:
        UserError: no image has two captions.
    """
    framings, about = [], []
    for one, name in described:
        parts = [tokenizer.encode(text, one.language).ids for _, text in one.captions]
        if len(parts) > 1:
            framings += [
                layout.cut(*pair, max_length=max_length) for pair in zip(parts, [*parts[1:], parts[0]], strict=True)
            ]
            about += [(name, one.language)] * len(parts)
    if not framings:
        raise UserError("data.caption_pairs needs images of two captions or more, but every image has one")
    return framings, about
