"""Pieces of a tokenizer as running text."""

from __future__ import annotations

from collections.abc import Sequence

_CONTINUES, _SPACES = "##", ("\u0120", "\u2581")  # how word pieces, and byte-level and SentencePiece pieces, say so
_ENDS = "</w>"  # of a word, in CLIP's pieces


def running_text(pieces: Sequence[str]) -> str:
    """Pieces with the blanks that their marks stand for.

    >>> running_text(["new", "york", "##er"]), running_text(["new", "\u0120york", "er"])
    ('new yorker', 'new yorker')
    >>> running_text(["new</w>", "york", "er</w>"])
    'new yorker'
    """
    if any(piece.endswith(_ENDS) for piece in pieces):
        return "".join(pieces).replace(_ENDS, " ").strip()
    spaced = any(piece.startswith(_SPACES) for piece in pieces)
    text = ""
    for piece in pieces:
        if piece.startswith(_SPACES):
            text += f" {piece[1:]}"
        elif piece.startswith(_CONTINUES) and text:
            text += piece.removeprefix(_CONTINUES)
        else:
            text += piece if spaced or not text else f" {piece}"
    return text.strip()
