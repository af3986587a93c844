"""Text prepared as the Moses scripts do it: control characters, punctuation, words (Koehn et al. 2007).

The scripts are those of ``sacremoses``, which is imported when the first text is cut.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import regex

from mm_kptm.errors import UserError

#: Codes with three letters that the scripts know by two.
_TWO_LETTERS = {"cmn": "zh", "wuu": "zh", "yue": "zh", "jpn": "ja", "ell": "el", "tha": "th"}
#: Places of KyTea's model: its own, and that of Debian's package.
_KYTEA_MODELS = (Path("/usr/local/share/kytea/model.bin"), Path("/usr/share/kytea/model.bin"))
_CONTROL = regex.compile(r"\p{C}")


def prepared(text: str, language: str | None = None, *, romanized: bool = True) -> str:
    """The words of a text in lower case between single blanks, as LASER's scripts cut them.

    Control characters become blanks, punctuation is normalised, entities are resolved, Moses' tokenizer cuts words
    without escapes; then Chinese is cut by jieba, Japanese by MeCab, and Greek is written in Latin letters.

    Args:
        text: a line.
        language: its code; None: English. Codes that Moses does not know are cut as English.
        romanized: whether Greek is written in Latin letters.

    Raises:
        UserError: a package that the language needs is not installed.
    """
    code = _TWO_LETTERS.get(language or "en", language or "en")
    normalizer, tokenizer, detokenizer = _moses(code)
    plain = detokenizer.unescape_xml(normalizer.normalize(_CONTROL.sub(" ", text)))
    words: str = tokenizer.tokenize(plain, escape=False, return_str=True)
    if code == "zh":
        words = " ".join(_needed("jieba", "jieba", code).cut(words))
    elif code == "ja":
        words = str(_mecab().parse(words))
    elif code == "el" and romanized:
        words = _needed("transliterate", "transliterate", code).translit(words, "el", reversed=True)
    return " ".join(words.lower().split())


def segmented(text: str, language: str | None = None) -> str:
    """The words of a text between single blanks, in their own case, as XLM's tools cut them (Conneau and Lample 2019).

    Punctuation of other scripts is written in ASCII, punctuation is normalised, control characters become blanks and
    Moses' tokenizer cuts words without escapes. In its place stand jieba for Chinese (XLM had Stanford's segmenter),
    PyThaiNLP for Thai and KyTea for Japanese.

    Args:
        text: a line.
        language: its code; None: English. Codes that Moses does not know are cut as English.

    Raises:
        UserError: a package or a model that the language needs is not installed.
    """
    code = _TWO_LETTERS.get(language or "en", language or "en")
    normalizer, tokenizer, _ = _moses(code)
    if code == "zh":
        text = " ".join(_needed("jieba", "jieba", code).cut(text))
    plain = _CONTROL.sub(" ", normalizer.normalize(normalizer.replace_unicode_punct(text)))
    words: list[str]
    if code == "zh":
        words = [plain]
    elif code == "th":
        words = _needed("pythainlp.tokenize", "pythainlp", code).word_tokenize(plain)
    elif code == "ja":
        words = list(_kytea().getWS(plain))
    else:
        words = tokenizer.tokenize(plain, escape=False)
    return " ".join(" ".join(words).split())


def origins(text: str, cut: str) -> list[int]:
    """The character of ``text`` that each character of its prepared form comes from; a best guess where it changed.

    >>> origins("Wait...", "wait ...")
    [0, 1, 2, 3, 3, 4, 5, 6]
    """
    before, after = text.casefold(), cut.casefold()
    if len(before) != len(text) or len(after) != len(cut):  # folding made letters longer
        before, after = text, cut
    found = [-1] * len(cut)
    for first, second, size in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
        found[second : second + size] = range(first, first + size)
    last = 0
    for place, origin in enumerate(found):
        last = origin if origin >= 0 else last
        found[place] = last
    return found


@cache
def _moses(code: str) -> tuple[Any, Any, Any]:
    """Moses' normalizer, tokenizer and detokenizer for a language."""
    library = _needed("sacremoses", "mm-kptm[moses]", code)
    normalizer = library.MosesPunctNormalizer(lang=code, perl_parity=True)
    return normalizer, library.MosesTokenizer(lang=code), library.MosesDetokenizer(lang=code)


@cache
def _mecab() -> Any:
    return _needed("MeCab", "mecab-python3 unidic-lite", "ja").Tagger("-Owakati")


@cache
def _kytea() -> Any:
    library = _needed("Mykytea", "kytea", "ja")
    model = next((path for path in _KYTEA_MODELS if path.is_file()), None)
    if model is None:
        raise UserError(
            f"texts in ja are cut with KyTea, whose model is not installed ({_KYTEA_MODELS[1]} of Debian's package "
            "kytea was looked for); give text that is cut already"
        )
    return library.Mykytea(f"-model {model}")


def _needed(name: str, package: str, code: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UserError(
            f"texts in {code} are cut with {name}, which is not installed; pip install {package}, or give text that "
            "is cut and encoded already"
        ) from None
