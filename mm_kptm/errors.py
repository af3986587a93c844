"""The one exception a user may cause, and the word that would have worked."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something a user asked for cannot be done.

    The message is one lower-case sentence: what was asked, what stands in the way (with its values, and the file
    and line or the key), and what would work. The command line prints it and exits with code 2; a library caller
    may catch it, as itself or as a ``ValueError``. Anything else that is raised is a fault of ours.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'this'?)`` where a known word is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean this?`` where a known word is close to ``word``, else the words there are."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if known else ""
