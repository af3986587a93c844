"""Entity marker tokens for encoders whose heads read the hidden states at the markers: K-Adapter and KEPLER.

A marker is a token of its own before and after a mention, whose own tokens do not change. ERNIE's markers are text
instead (:mod:`mm_kptm.knowledge.injection.mention_markers`), and its heads read the first hidden state.

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

READ = "read_at"  #: token label of the markers whose states are read: the number of their mention, 0 elsewhere
#: Placeholders in texts of the markers before and after a first and a second mention: private-use characters.
PLACEHOLDERS = ("\ue000", "\ue001", "\ue002", "\ue003")


#: Marker tokens by family and task (Wang et al. 2021, K-Adapter, section 4; KEPLER's released code, section 5.1).
MARKINGS: dict[str, dict[str, MarkerTokens]] = {
    "k-adapter": {
        "entity-typing": MarkerTokens(("@", "@")),
        "relation-classification": MarkerTokens(("@", "@", "#", "#")),
    },
    "kepler": {
        "entity-typing": MarkerTokens(("madeupword0000", "madeupword0001"), inside=True),
        "relation-classification": MarkerTokens(('"', "#", "$", "%")),  # ids 1 to 4 of GPT-2's vocabulary
    },
}


def with_markers(text: str, *spans: tuple[int, int]) -> str:
    """Insert :data:`PLACEHOLDERS` around spans; a space before a mention stays with it.

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
    """Mention number, from 1, of every token whose hidden state is read, 0 elsewhere.

    >>> mention_numbers(["he", PLACEHOLDERS[0], "Rome", PLACEHOLDERS[1]], MarkerTokens(("@", "@")))
    [0, 1, 0, 0]
    """
    numbers = [PLACEHOLDERS.index(text) // 2 + 1 if text in PLACEHOLDERS[::2] else 0 for text in texts]
    return [0, *numbers[:-1]] if markers.inside else numbers


def marker_tokenizer(tokenizer: Tokenizer, marks: MarkerTokens) -> PlaceholderTokenizer:
    """Tokenizer that maps :data:`PLACEHOLDERS` to marker tokens; ``UserError`` if the vocabulary lacks one."""
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
    """Row whose hidden state is read for every mention, [B, M]; the text's first row where the marker is truncated."""
    text = required_text(inputs)
    if text.token_labels is None or READ not in text.token_labels:
        raise UserError("the states at the marks of mentions are scored, but these texts have no marks")
    numbers = text.token_labels[READ]
    rows = text.layout.starts(numbers.device)[:, None].repeat(1, mentions)
    at = numbers.nonzero().squeeze(1)
    rows[text.layout.sequence_ids(at.device)[at], numbers[at] - 1] = at
    return rows
