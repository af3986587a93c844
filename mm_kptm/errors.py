"""The one exception a user may cause, and the word that would have worked."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something a user asked for cannot be done.

    The message is one lower-case sentence: what was asked, what stands in the way (with its values, and the file
    and line or the key), and what would work. The command line prints it and exits with code 2; a library caller
    may catch it, as itself or as a ``ValueError``. Anything else that is raised is a fault of ours.
    """


def nearest(word: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """``; did you mean this?`` where a known word is close to ``word``, else the words there are.

    Args:
        word: that was asked for.
        known: the words there are.
        otherwise: stands in place of the list of words; nothing is added where it is empty.
    """
    known = sorted(known)
    if close := difflib.get_close_matches(word, known, n=1):
        return f"; did you mean {close[0]}?"
    if otherwise is None:
        otherwise = f"there are {', '.join(known)}" if known else ""
    return otherwise and f"; {otherwise}"
