"""Texts with linked mentions, made ready for ERNIE's tasks: what is asked about is set between markers.

The released markers are single signs with a blank inside: a full-width stop for the target of entity typing ([ENT] in
the paper), ``#`` for the head and ``$`` for the tail of a relation ([HD] and [TL]; Zhang et al. 2019, section 3.5).

Linkers such as TAGME tell a mention by entity, first character, end and confidence: a
:class:`~mm_kptm.knowledge.injection.entity_grid.Mention`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import NOTHING
from mm_kptm.knowledge.injection.entity_grid import Mention, Placement, whole_words, word_starts

TARGET, HEAD, TAIL = ("。 ", " 。"), ("# ", " #"), ("$ ", " $")


@dataclass(frozen=True)
class Annotated:
    """A text and the mentions in it, markers set and mentions moved along."""

    text: str
    mentions: tuple[Mention, ...]
    target: Mention | None = None  #: what entity typing asks about


@dataclass(frozen=True)
class Gridded:
    """A text in tokens, special ones included, with an entity number beside each."""

    ids: tuple[int, ...]
    entities: tuple[int, ...]  #: -1 where there is none


def confident(mentions: Iterable[Mention], threshold: float) -> tuple[Mention, ...]:
    """The mentions that a linker is surer of than ``threshold`` (0.3 for entity typing, 0.4 for TACRED)."""
    return tuple(mention for mention in mentions if mention.score > threshold)


def from_the_start(mention: Mention) -> Mention:
    """A mention from character 1 begins at character 0: the released readers' repair of FewRel and TACRED."""
    return mention._replace(start=0) if mention.start == 1 else mention


def mark_target(text: str, start: int, end: int, mentions: Iterable[Mention]) -> Annotated:
    """Set the characters that entity typing asks about between stops.

    Raises:
        UserError: they lie outside the text, or there are none.
    """
    target = Mention("target", start, end)
    _check(text, target)
    opening, closing = TARGET
    marked = text[:start] + opening + text[start:end] + closing + text[end:]
    moved = tuple(_moved(mention, target) for mention in mentions)
    return Annotated(marked, moved, target._replace(start=start + len(opening), end=end + len(opening)))


def mark_pair(text: str, head: Mention, tail: Mention, mentions: Iterable[Mention]) -> Annotated:
    """Set head and tail of a relation between their signs and move other mentions along (TACRED).

    Raises:
        UserError: head or tail lie outside the text, or are empty.
    """
    moved = tuple(_moved(mention, head, tail) for mention in mentions)
    return Annotated(_paired(text, head, tail), moved)


def mark_linked_pair(text: str, head: Mention, tail: Mention) -> Annotated:
    """Set head and tail of a relation between their signs; they are all that is mentioned (FewRel).

    Raises:
        UserError: head or tail lie outside the text, or are empty.
    """
    first, second = (head, tail) if head.start < tail.start else (tail, head)
    return Annotated(_paired(text, head, tail), (_shifted(first, 2), _shifted(second, 6)))


class Annotator:
    """Turns annotated texts into tokens with entities.

    Args:
        tokenizer: the model's.
        numbers: of the entities that have a vector.
        max_length: tokens a text may have, ``[CLS]`` and ``[SEP]`` included; the rest is cut off.
        place: which token an entity stands at.

    Raises:
        UserError: there is no room for the special tokens.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        numbers: Mapping[str, int],
        *,
        max_length: int = 256,
        place: Placement = word_starts,
    ) -> None:
        if max_length < 3:
            raise UserError(f"max_length is {max_length}, which leaves no room between [CLS] and [SEP]; 3 is the least")
        self._tokenizer = tokenizer
        self._numbers = numbers
        self._room = max_length - 2
        self._place = place

    def __call__(self, annotated: Annotated) -> Gridded | None:
        """The tokens of a text and their entities; None where the target of entity typing was cut off."""
        pieces = self._tokenizer.encode(annotated.text)
        if annotated.target is not None:
            kept = whole_words(annotated.text, pieces, [annotated.target])[: self._room]
            if not any(kept):
                return None
        names = self._place(annotated.text, pieces, annotated.mentions)[: self._room]
        ids, _ = framed(self._tokenizer.specials, pieces.ids[: self._room])
        entities = [NOTHING if name is None else self._numbers.get(name, NOTHING) for name in names]
        return Gridded(tuple(ids), (NOTHING, *entities, NOTHING))


def _paired(text: str, head: Mention, tail: Mention) -> str:
    for span in (head, tail):
        _check(text, span)
    marks = [(head, HEAD), (tail, TAIL)] if head.start < tail.start else [(tail, TAIL), (head, HEAD)]
    (first, (open_first, close_first)), (second, (open_second, close_second)) = marks
    return (
        text[: first.start]
        + open_first
        + text[first.start : first.end]
        + close_first
        + text[first.end : second.start]
        + open_second
        + text[second.start : second.end]
        + close_second
        + text[second.end :]
    )


def _moved(mention: Mention, *marked: Mention) -> Mention:
    """A mention after marks were set before and behind some spans.

    A mention that begins right where a marked one ends is not moved past the closing mark, as in the released code.
    """
    passed = sum((mention.start >= span.start) + (mention.start > span.end) for span in marked)
    return _shifted(mention, 2 * passed)


def _shifted(mention: Mention, places: int) -> Mention:
    return mention._replace(start=mention.start + places, end=mention.end + places)


def _check(text: str, span: Mention) -> None:
    if not 0 <= span.start < span.end <= len(text):
        raise UserError(
            f"characters {span.start} to {span.end} were to be marked in a text of {len(text)} characters; a mention "
            "begins before it ends, inside the text"
        )
