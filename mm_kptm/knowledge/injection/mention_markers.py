"""Text markers around linked mentions for ERNIE's fine-tuning tasks.

The released markers are a sign and a space: a full-width stop for the target of entity typing ([ENT] in the paper),
``#`` for the head and ``$`` for the tail of a relation ([HD] and [TL]; Zhang et al. 2019, section 3.5).

Linkers such as TAGME return an entity, a start, an end and a confidence: a
:class:`~mm_kptm.knowledge.injection.entity_grid.Mention`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.openke import NOTHING
from mm_kptm.knowledge.injection.entity_grid import Mention, Placement, whole_words, word_starts

TARGET, HEAD, TAIL = ("。 ", " 。"), ("# ", " #"), ("$ ", " $")


@dataclass(frozen=True)
class Annotated:
    """Text with markers, and its mentions at their new offsets."""

    text: str
    mentions: tuple[Mention, ...]
    target: Mention | None = None  #: target mention of entity typing


@dataclass(frozen=True)
class Gridded:
    """Token ids of a text, special ones included, with one entity id per token."""

    ids: tuple[int, ...]
    entities: tuple[int, ...]  #: -1 where there is none


def confident(mentions: Iterable[Mention], threshold: float) -> tuple[Mention, ...]:
    """Mentions with a confidence above ``threshold`` (0.3 for entity typing, 0.4 for TACRED)."""
    return tuple(mention for mention in mentions if mention.score > threshold)


def from_the_start(mention: Mention) -> Mention:
    """Move a mention from start 1 to start 0, as the released readers do for FewRel and TACRED."""
    return mention._replace(start=0) if mention.start == 1 else mention


def mark_target(text: str, start: int, end: int, mentions: Iterable[Mention]) -> Annotated:
    """Mark the target of entity typing.

    Raises:
        UserError: the span is empty or outside the text.
    """
    target = Mention("target", start, end)
    _check(text, target)
    opening, closing = TARGET
    marked = text[:start] + opening + text[start:end] + closing + text[end:]
    moved = tuple(_moved(mention, target) for mention in mentions)
    return Annotated(marked, moved, target._replace(start=start + len(opening), end=end + len(opening)))


def mark_pair(text: str, head: Mention, tail: Mention, mentions: Iterable[Mention]) -> Annotated:
    """Mark head and tail of a relation and shift the other mentions (TACRED).

    Raises:
        UserError: head or tail is empty or outside the text.
    """
    moved = tuple(_moved(mention, head, tail) for mention in mentions)
    return Annotated(_paired(text, head, tail), moved)


def mark_linked_pair(text: str, head: Mention, tail: Mention) -> Annotated:
    """Mark head and tail of a relation, which are the only mentions (FewRel).

    Raises:
        UserError: head or tail is empty or outside the text.
    """
    first, second = (head, tail) if head.start < tail.start else (tail, head)
    return Annotated(_paired(text, head, tail), (_shifted(first, 2), _shifted(second, 6)))


class Annotator:
    """Tokenizer of annotated texts with one entity per token.

    Args:
        tokenizer: tokenizer of the encoder.
        numbers: ids of the entities with a vector.
        max_length: maximum number of tokens, ``[CLS]`` and ``[SEP]`` included; the rest is truncated.
        place: rule that places an entity at tokens of its mention.

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
        self._room = max_length - tokenizer.specials.around(1)
        self._place = place

    def __call__(self, annotated: Annotated) -> Gridded | None:
        """Token and entity ids of a text; None where the target of entity typing is truncated."""
        pieces = self._tokenizer.encode(annotated.text)
        if annotated.target is not None:
            kept = whole_words(annotated.text, pieces, [annotated.target])[: self._room]
            if not any(kept):
                return None
        names = self._place(annotated.text, pieces, annotated.mentions)[: self._room]
        ids, _ = framed(self._tokenizer.specials, pieces.ids[: self._room])
        entities = [NOTHING if name is None else self._numbers.get(name, NOTHING) for name in names]
        return Gridded(tuple(ids), (*[NOTHING] * self._tokenizer.specials.opens, *entities, NOTHING))


def _paired(text: str, head: Mention, tail: Mention) -> str:
    for span in (head, tail):
        _check(text, span)
    markers = [(head, HEAD), (tail, TAIL)] if head.start < tail.start else [(tail, TAIL), (head, HEAD)]
    (first, (open_first, close_first)), (second, (open_second, close_second)) = markers
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
    """Shift a mention by the markers inserted before it.

    A mention that starts right where a marked one ends is not moved past the closing marker, as in the released code.
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
