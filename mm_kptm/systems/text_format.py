"""Text formats of encoder families: special tokens, segments, tokenizer, mention markers, languages.

A :class:`~mm_kptm.systems.recipe.Recipe` has one; :mod:`mm_kptm.preprocessing.text` builds sequences from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from mm_kptm.data.tokenizers.protocol import Specials

T = TypeVar("T")


@dataclass(frozen=True)
class SequenceTemplate:
    """Special tokens around a text, and its first segment id; two parts are always separated."""

    opened: bool = True  #: begins with [CLS]
    closed: bool = True  #: ends with [SEP], if it has one part
    first_segment: int = 0

    def max_pieces(self, max_length: int, parts: int, specials: Specials) -> int:
        """Number of word pieces that fit with the special tokens."""
        unopened = specials.opens and not self.opened
        return max_length - specials.around(parts) + unopened + (parts == 1 and not self.closed)

    def in_place(self, values: Sequence[T], other: T, specials: Specials) -> list[T]:
        """Values of the pieces of a single text, and ``other`` where special tokens stand around them."""
        return [other] * (self.opened and specials.opens) + [*values] + [other] * self.closed

    def around(self, parts: Sequence[Sequence[int | T]], specials: Specials) -> list[int | T]:
        """The concatenated parts with the special-token ids around them.

        >>> SequenceTemplate().around([[7, 8], [9]], Specials(0, 1, 2, 3, 4))
        [2, 7, 8, 3, 9, 3]
        """
        sequence: list[int | T] = [specials.start] if self.opened and specials.opens else []
        for number, part in enumerate(parts, 1):
            stops = specials.between if number < len(parts) else int(self.closed or len(parts) > 1)
            sequence += [*part, *[specials.stop] * stops]
        return sequence


@dataclass(frozen=True)
class MarkerTokens:
    """Marker tokens before and after a mention, then before and after the second mention if there are two.

    Args:
        inside: whether the state of a mention's first piece is used instead of that of the marker before it.
    """

    pieces: tuple[str, ...]
    inside: bool = False


BERT_TEMPLATE = SequenceTemplate()


@dataclass(frozen=True)
class TextFormat:
    """Text format of a family; the defaults are BERT's.

    The number of separators between two parts is the tokenizer's
    (:attr:`~mm_kptm.data.tokenizers.protocol.Specials.between`).
    """

    template: SequenceTemplate = BERT_TEMPLATE  #: of a text or text pair
    word_template: SequenceTemplate = BERT_TEMPLATE  #: of a text with word-level labels
    tokenizer: Literal["file", "characters", "clip", "siglip", "t5"] = "file"
    """As the vocabulary file says; K-BERT's characters; CLIP's published pairs where no file says otherwise; SigLIP's
    or T5's, whose files are alike."""
    fact_wording: Literal["joined", "spaced"] = "spaced"  #: wording of injected facts, unless a task overrides it
    markers: Mapping[str, MarkerTokens] = field(default_factory=dict)  #: mention markers by task
    languages: tuple[str, ...] = ()  #: language codes in the order of the language ids, if the encoder embeds them
    image_first: bool = False  #: whether the image stands behind [CLS], and a [SEP] between it and the words
    choice_segments: tuple[int, ...] = ()
    """Segments of a question, its answer and the rationale, where a task lets choose among them; 0 and 1 when empty."""
    answer_slot: Literal["none", "mask", "mask-part"] = "none"
    """The [MASK] of a question about an image at which its answer is read: none, behind its last word, or as a part of
    its own."""
    language_codes: Literal["none", "last", "first"] = "none"
    """Where the token of a language stands in a source of an encoder-decoder: nowhere, at its end (mBART) or at its
    beginning (mBART-50); a target begins with it."""


BERT_FORMAT = TextFormat()

#: The UER toolkit, as in K-BERT (Liu et al. 2020): characters; a single text has no [SEP], and segment 0 is padding.
UER_FORMAT = TextFormat(
    template=SequenceTemplate(closed=False, first_segment=1),
    word_template=SequenceTemplate(opened=False, closed=False, first_segment=1),
    tokenizer="characters",
    fact_wording="joined",
)
