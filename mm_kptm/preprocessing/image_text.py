"""Texts about images, laid out as a family of encoders reads them.

As :class:`~mm_kptm.systems.text_format.TextFormat` says: ``[CLS] A [SEP] B [SEP]`` beside the image in most families,
``[CLS] [SEP] A [SEP]`` around it in VLP, and a question that ends with the [MASK] at which VisualBERT and VL-BERT read
its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mm_kptm.data.tokenizers.protocol import Specials, framed
from mm_kptm.systems.text_format import BERT_FORMAT, TextFormat


@dataclass(frozen=True)
class ImageTextLayout:
    """Layout of the texts about an image.

    Args:
        specials: ids of the special tokens.
        format: of the family.
        asks: whether the texts are questions that are answered from a fixed vocabulary.
    """

    specials: Specials
    format: TextFormat = BERT_FORMAT
    asks: bool = False

    @property
    def slot(self) -> str:
        """The [MASK] of a question: none, mask or mask-part."""
        return self.format.answer_slot if self.asks else "none"

    def num_special(self, parts: int) -> int:
        """Number of special tokens around ``parts`` parts."""
        slot = {"none": 0, "mask": 1, "mask-part": 2}[self.slot]
        return self.specials.around(parts) + slot + self.format.image_first

    def __call__(self, *parts: Sequence[int]) -> tuple[list[int], list[int]]:
        """Ids and segments of the parts of one text.

        >>> specials = Specials(pad=0, unknown=1, start=2, stop=3, mask=4)
        >>> ImageTextLayout(specials)((7, 8), (9,))
        ([2, 7, 8, 3, 9, 3], [0, 0, 0, 0, 1, 1])
        >>> ImageTextLayout(specials, TextFormat(answer_slot="mask"), asks=True)((7, 8))
        ([2, 7, 8, 4, 3], [0, 0, 0, 0, 0])
        >>> ImageTextLayout(specials, TextFormat(answer_slot="mask-part"), asks=True)((7, 8))
        ([2, 7, 8, 3, 4, 3], [0, 0, 0, 0, 1, 1])
        >>> ImageTextLayout(specials, TextFormat(image_first=True))((7, 8))
        ([2, 3, 7, 8, 3], [0, 0, 1, 1, 1])
        """
        sequence = list(parts)
        if self.slot == "mask":
            sequence[-1] = (*sequence[-1], self.specials.mask_id)
        elif self.slot == "mask-part":
            sequence.append((self.specials.mask_id,))
        ids, segments = framed(self.specials, *sequence)
        if self.format.image_first:
            ids, segments = [ids[0], self.specials.stop, *ids[1:]], [0, 0, *[1] * (len(ids) - 1)]
        return ids, segments

    def around(self) -> tuple[list[int], list[int]]:
        """The special tokens before and behind the words of one text."""
        ids, _ = self(())
        before = 2 if self.format.image_first else 1
        return ids[:before], ids[before:]

    def cut(self, *parts: Sequence[int], max_length: int) -> tuple[list[int], list[int]]:
        """As a call, with the longest part shortened until all of it fits into ``max_length`` tokens.

        >>> ImageTextLayout(Specials(0, 1, 2, 3, 4)).cut((7, 7, 7), (9,), max_length=6)[0]
        [2, 7, 7, 3, 9, 3]
        """
        lengths = [len(part) for part in parts]
        while sum(lengths) > max(max_length - self.num_special(len(parts)), 0):
            lengths[lengths.index(max(lengths))] -= 1
        return self(*(part[:length] for part, length in zip(parts, lengths, strict=True)))
