"""How mentions are marked for encoders whose heads read the states at the marks, K-Adapter's and KEPLER's.

A mark is a piece of its own before and behind a mention, whose pieces stay what they are without it. ERNIE's marks are
text instead (:mod:`mm_kptm.knowledge.injection.mention_markers`), and its heads read the first state.

Shapes: B texts, M mentions of a text.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.data.tokenizers.added_tokens import PlaceholderTokenizer
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import required_text
from mm_kptm.systems.text_format import MarkerTokens

READ = "read_at"  #: the mark of tokens whose states are read: the number of their mention, 0 of others
#: Stand in texts for the marks before and behind a first and a second mention; no script has these characters.
PLACEHOLDERS = ("\ue000", "\ue001", "\ue002", "\ue003")


#: By the family that marks so, and by task (Wang et al. 2021, K-Adapter, section 4; KEPLER, section 5.1, and its code).
MARKINGS: dict[str, dict[str, MarkerTokens]] = {
    "k-adapter": {
        "entity-typing": MarkerTokens(("@", "@")),
        "relation-classification": MarkerTokens(("@", "@", "#", "#")),
    },
    "kepler": {
        "entity-typing": MarkerTokens(("madeupword0000", "madeupword0001"), inside=True),
        "relation-classification": MarkerTokens(('"', "#", "$", "%")),  # numbers 1 to 4 of GPT-2's pieces
    },
}


def with_markers(text: str, *spans: tuple[int, int]) -> str:
    """The text with :data:`PLACEHOLDERS` around some characters; a space before a mention stays with it.

    >>> with_markers("he saw Rome.", (7, 11)).replace(PLACEHOLDERS[0], "<").replace(PLACEHOLDERS[1], ">")
    'he saw< Rome>.'
    """
    places = []
    for number, (start, end) in enumerate(spans):
        spaces = len(text[:start]) - len(text[:start].rstrip())
        places += [(start - spaces, 1, PLACEHOLDERS[2 * number]), (end, 0, PLACEHOLDERS[2 * number + 1])]
    for place, _, sign in sorted(places, reverse=True):
        text = text[:place] + sign + text[place:]
    return text


def mention_numbers(texts: Sequence[str], markers: MarkerTokens) -> list[int]:
    """The number of the mention, from 1, whose state is read at each of these pieces, 0 where none is.

    >>> mention_numbers(["he", PLACEHOLDERS[0], "Rome", PLACEHOLDERS[1]], MarkerTokens(("@", "@")))
    [0, 1, 0, 0]
    """
    numbers = [PLACEHOLDERS.index(text) // 2 + 1 if text in PLACEHOLDERS[::2] else 0 for text in texts]
    return [0, *numbers[:-1]] if markers.inside else numbers


def marker_tokenizer(tokenizer: Tokenizer, marks: MarkerTokens) -> PlaceholderTokenizer:
    """A tokenizer to which :data:`PLACEHOLDERS` are the pieces of the marks; ``UserError`` where it lacks one."""
    pieces = marks.pieces
    ids = {piece: number for number, piece in enumerate(tokenizer.vocabulary)}
    if missing := [piece for piece in pieces if piece not in ids]:
        raise UserError(
            f"mentions are marked with the pieces {' '.join(pieces)}, but data.vocabulary has no {missing[0]}; name "
            "the tokenizer of the encoder, or let data.markers be ernie"
        )
    return PlaceholderTokenizer(
        tokenizer, {sign: ids[piece] for sign, piece in zip(PLACEHOLDERS, pieces, strict=False)}
    )


def marked_rows(inputs: Inputs, mentions: int) -> Tensor:
    """Where the states of every mention are read, [B, M]; at the first token where its mark was cut off."""
    text = required_text(inputs)
    if text.token_labels is None or READ not in text.token_labels:
        raise UserError("the states at the marks of mentions are scored, but these texts have no marks")
    numbers = text.token_labels[READ]
    rows = text.layout.starts(numbers.device)[:, None].repeat(1, mentions)
    at = numbers.nonzero().squeeze(1)
    rows[text.layout.sequence_ids(at.device)[at], numbers[at] - 1] = at
    return rows
