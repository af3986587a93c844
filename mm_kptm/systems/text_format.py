"""How a family of encoders was given its texts: special tokens, segments, tokenizer, marks of mentions, languages.

The values stand in a :class:`~mm_kptm.systems.recipe.Recipe`; what makes sequences of them
(:mod:`mm_kptm.preprocessing.text`) compares no names of families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from mm_kptm.data.tokenizers.protocol import Specials

T = TypeVar("T")


@dataclass(frozen=True)
class SequenceTemplate:
    """Which special tokens stand around a text, and its first segment; between two parts are always some."""

    opened: bool = True  #: begins with [CLS]
    closed: bool = True  #: ends with [SEP], if it has one part
    first_segment: int = 0

    def max_pieces(self, max_length: int, parts: int, specials: Specials) -> int:
        """Pieces that fit beside the special tokens."""
        return max_length - specials.around(parts) + (not self.opened) + (parts == 1 and not self.closed)

    def around(self, parts: Sequence[Sequence[int | T]], specials: Specials) -> list[int | T]:
        """The parts in a row with the ids of the special tokens around them.

        >>> SequenceTemplate().around([[7, 8], [9]], Specials(0, 1, 2, 3, 4))
        [2, 7, 8, 3, 9, 3]
        """
        sequence: list[int | T] = [specials.start] if self.opened else []
        for number, part in enumerate(parts, 1):
            stops = specials.between if number < len(parts) else int(self.closed or len(parts) > 1)
            sequence += [*part, *[specials.stop] * stops]
        return sequence


@dataclass(frozen=True)
class MarkerTokens:
    """The pieces before and behind a mention, and before and behind the second where there are two.

    Args:
        inside: whether the state of a mention's first piece is read, and not that of the mark before it.
    """

    pieces: tuple[str, ...]
    inside: bool = False


BERT_TEMPLATE = SequenceTemplate()


@dataclass(frozen=True)
class TextFormat:
    """The form in which a family reads texts; the defaults are BERT's.

    How many separators stand between two parts is the tokenizer's to say
    (:attr:`~mm_kptm.data.tokenizers.protocol.Specials.between`).
    """

    template: SequenceTemplate = BERT_TEMPLATE  #: around a text or a pair of texts
    word_template: SequenceTemplate = BERT_TEMPLATE  #: around a text whose every word is labelled
    tokenizer: Literal["file", "characters"] = "file"  #: what the vocabulary's file says, or K-BERT's characters
    fact_wording: Literal["joined", "spaced"] = (
        "spaced"  #: how an injected fact is worded, unless a task says otherwise
    )
    markers: Mapping[str, MarkerTokens] = field(default_factory=dict)  #: by task, where states at marks are read
    languages: tuple[str, ...] = ()  #: codes in the order of the language ids, where the encoder embeds them


BERT_FORMAT = TextFormat()

#: UER's toolkit, K-BERT's home (Liu et al. 2020): characters; one text has no end, and segment 0 is padding.
UER_FORMAT = TextFormat(
    template=SequenceTemplate(closed=False, first_segment=1),
    word_template=SequenceTemplate(opened=False, closed=False, first_segment=1),
    tokenizer="characters",
    fact_wording="joined",
)
