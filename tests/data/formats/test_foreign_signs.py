"""Text of any script is read as it is; what is no text, or another encoding, is named with file and line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mm_kptm.crosslingual.corpora.code_switching import read_dictionary
from mm_kptm.crosslingual.corpora.parallel_files import bitext_lines
from mm_kptm.data.formats.jsonl import read_entailment
from mm_kptm.data.formats.squad import read_squad
from mm_kptm.data.formats.xnli import read_xnli
from mm_kptm.data.formats.xtreme import read_numbered, read_pan_x, read_parts_of_speech, read_paws_x
from mm_kptm.errors import UserError

HEADER = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'


def unit(one: str, other: str) -> str:
    german, english = f'<tuv xml:lang="de"><seg>{one}</seg></tuv>', f'<tuv xml:lang="en"><seg>{other}</seg></tuv>'
    return f"<tu>{german}\n{english}</tu>\n"  # lines 2 and 3


def questions(one: str, other: str) -> str:
    asked = [{"id": "1", "question": other, "answers": []}]
    return json.dumps({"data": [{"paragraphs": [{"context": one, "qas": asked}]}]}, ensure_ascii=False, indent=0)


def pair(path: Path) -> list[Any]:
    return list(bitext_lines(path, ("de", "en")))


#: Of every format: a file of two texts, and its reader.
FORMATS: dict[str, tuple[Callable[[str, str], str], Callable[[Path], Any]]] = {
    "x.tsv": ("{}\t{}\n".format, pair),
    "x.jsonl": ('{{"de": "{}", "en": "{}"}}\n'.format, pair),
    "x.tmx": (lambda one, other: f"<tmx><body>\n{unit(one, other)}</body></tmx>", pair),
    "x.po": (lambda one, other: f'{HEADER}msgid "{one}"\nmsgstr "{other}"\n', pair),
    "en-de.txt": ("{}\t{}\n".format, read_dictionary),
    "test-de.tsv": ("{}\t{}\tneutral\n".format, read_xnli),
    "paws-de.tsv": ("{}\t{}\t1\n".format, read_paws_x),
    "pos-de.tsv": ("{}\tNOUN\n{}\tNOUN\n".format, read_parts_of_speech),
    "names-de.tsv": ("de:{}\tO\nde:{}\tO\n".format, read_pan_x),
    "bucc.de": ("1\t{}\n2\t{}\n".format, read_numbered),
    "xquad.de.json": (questions, lambda path: list(read_squad(path))),
    "own.jsonl": ('{{"premise": "{}", "hypothesis": "{}", "label": "neutral"}}\n'.format, read_entailment),
}
TEXTS = {
    "right to left": ("שלום עולם", "مرحبا"),
    "combining": ("e\u0301le\u0300ve", "ก็"),
    "joiners": ("می\u200cخواهم", "👩\u200d👩"),
    "line separators": ("a\u2028b\u2029c", "d\u0085e"),
    "marks of direction": ("\u202eabc\u202c", "\u200fd"),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", FORMATS)
def test_signs_of_any_script_stay(name: str, kind: str, tmp_path: Path) -> None:
    make, read = FORMATS[name]
    path = tmp_path / name
    for ends in ("\n", "\r\n", "\r"):
        for mark in ("", "\ufeff"):
            path.write_bytes((mark + make(*TEXTS[kind]).replace("\n", ends)).encode())
            found = ascii(read(path))
            assert all(ascii(text)[1:-1] in found for text in TEXTS[kind]), (ends, mark, found)


ENCODINGS = {
    "latin-1": lambda text: text.replace("eins", "eïns").encode("latin-1"),
    "shift-jis": lambda text: text.replace("eins", "一つ").encode("shift-jis"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "half a character": lambda text: text.replace("eins", "e\ud800s").encode("utf-8", "surrogatepass"),
    "nul": lambda text: text.replace("eins", "ei\0ns").encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", FORMATS)
def test_another_encoding_is_named_with_its_line(name: str, encoding: str, tmp_path: Path) -> None:
    make, read = FORMATS[name]
    path, text = tmp_path / name, make("eins", "one")
    path.write_bytes(ENCODINGS[encoding](text))
    first = text.count("\n", 0, text.index("eins")) + 1 if encoding in ("latin-1", "shift-jis", "nul") else 1
    first = text.count("\n", 0, text.index("eins")) + 1 if encoding == "half a character" else first
    if name == "x.tmx" and encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert read(path) == [("eins", "one")]  # XML without a declaration is in what its first signs say
        return
    with pytest.raises(UserError) as refused:
        read(path)
    said = str(refused.value)
    assert said.startswith(f"{path}, line {first} ") and "\n" not in said, said


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("pos-de.tsv", "names-de.tsv")])
def test_a_text_of_signs_without_width_is_no_text(name: str, tmp_path: Path) -> None:
    make, read = FORMATS[name]
    (tmp_path / name).write_text(make("\u200b\ufeff", "one"), encoding="utf-8")
    with pytest.raises(UserError, match=r"empty|blank|belong there|must hold an id|holds no sentence in 'de'"):
        read(tmp_path / name)
