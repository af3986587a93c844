"""The search page: what was asked of it, and the page that answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from jinja2 import Environment, PackageLoader, StrictUndefined

from mm_kptm.errors import UserError
from mm_kptm.suites.search.generation import Generation
from mm_kptm.suites.search.query import MOST, Hit

SHOWN = 24  #: pictures on a page unless more are asked for
LONGEST = 2000  #: letters of a text that is searched for
_KNOWN = ("q", "like", "k")


@dataclass(frozen=True)
class Question:
    """What the address of a page asks for: the pictures nearest to a text or to a picture, or neither."""

    text: str | None = None
    like: str | None = None  #: name of a picture of the index
    k: int = SHOWN

    @classmethod
    def read(cls, query: bytes) -> Question:
        """Read the part of an address behind its question mark.

        Raises:
            UserError: it is malformed, or asks for what the page does not have.
        """
        try:
            raw = query.decode("ascii")
            if "\0" in unquote_to_bytes(raw).decode("utf-8", "surrogateescape"):
                raise ValueError
            pairs = parse_qsl(raw, keep_blank_values=True, strict_parsing=bool(raw), errors="surrogateescape")
        except ValueError:
            raise UserError("the address is malformed behind its question mark") from None
        given = dict(pairs)
        if len(given) < len(pairs) or (unknown := sorted(given.keys() - set(_KNOWN))):
            named = repr(unknown[0]) if len(given) == len(pairs) else "the same thing twice"
            raise UserError(f"the address asks for {_shown(named)}; the page knows {', '.join(_KNOWN)}, each once")
        text, like = given.get("q"), given.get("like")
        if text is not None and like is not None:
            raise UserError("the address asks for a text and for a picture; search by one of them")
        if text is not None and len(text) > LONGEST:
            raise UserError(f"the text has {len(text)} letters; up to {LONGEST} are searched for")
        return cls(None if text is None else _printable(text).strip(), like, _count(given.get("k", str(SHOWN))))


@dataclass(frozen=True)
class Picture:
    """A picture on the page."""

    name: str  #: as it can be shown
    thumbnail: str  #: addresses
    original: str
    alike: str
    similarity: float | None = None

    @classmethod
    def of(cls, name: str, similarity: float | None = None) -> Picture:
        """The picture of that name in the index."""
        quoted = quote(os.fsencode(name))
        return cls(
            _printable(name),
            f"/thumbnail/{quoted}",
            f"/picture/{quoted}",
            f"/?like={quote(os.fsencode(name), safe='')}",
            similarity,
        )


def answer_page(
    generation: Generation, question: Question, hits: Sequence[Hit] | None, facts: Sequence[str] = ()
) -> str:
    """The page with pictures: those that were found, or the first of the folder where nothing was asked for.

    Args:
        generation: that was searched.
        question: what was asked.
        hits: what was found; None where nothing was asked for.
        facts: that the model read beside the text.
    """
    if hits is None:
        found = [Picture.of(generation.name(row)) for row in range(min(question.k, len(generation)))]
    else:
        found = [Picture.of(hit.name, hit.similarity) for hit in hits]
    more = min(question.k + SHOWN, MOST, len(generation))
    return _render(
        text=question.text or "",
        asked=hits is not None,
        like=None if question.like is None else Picture.of(question.like),
        found=found,
        facts=facts,
        folder=_printable(os.path.basename(generation.facts.pictures)),
        count=len(generation),
        more=_address(question, more) if more > len(found) and question.k < MOST else None,
    )


def error_page(message: str, *, text: str = "") -> str:
    """The page that says in a sentence why there are no pictures."""
    return _render(error=message[:1].upper() + message[1:], text=text)


def style() -> str:
    """The style sheet of the page."""
    return _environment().get_template("page.css").render()


def _render(**values: object) -> str:
    nothing: dict[str, object] = {
        "error": None, "text": "", "asked": False, "like": None, "found": (), "facts": (), "folder": "", "count": 0,
        "more": None,
    }  # fmt: skip
    return _environment().get_template("page.html").render(nothing | values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("mm_kptm.suites.search"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _address(question: Question, k: int) -> str:
    what, value = ("like", question.like) if question.like is not None else ("q", question.text)
    asked = "" if value is None else f"{what}={quote(os.fsencode(value), safe='')}&"
    return f"/?{asked}k={k}"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST):
        raise UserError(f"the address asks for {_shown(repr(text))} pictures; from 1 to {MOST} can be shown")
    return int(text)


def _shown(text: str) -> str:
    return _printable(text if len(text) <= 60 else f"{text[:60]}...")


def _printable(text: str) -> str:
    """Text without lone surrogates (bytes of a name that are no UTF-8) and control characters."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "�" for letter in text)
