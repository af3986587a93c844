"""Every format of bitext gives the same pairs, and a fault is named with its file and line."""

import gzip
import tracemalloc

import pytest

from mm_kptm.crosslingual.corpora.gettext_catalogue import read_catalogue
from mm_kptm.crosslingual.corpora.parallel_files import bitext_files, bitext_lines, read_pairs, read_tsv
from mm_kptm.crosslingual.corpora.tmx import read_tmx
from mm_kptm.errors import UserError
from tests.crosslingual.corpora.test_compiled_catalogue import compiled

LANGUAGES = ("en", "de")
PAIRS = [("Hello", "Hallo"), ("a \u2028 sign", "ein \u2028 Zeichen"), ("می\u200cخواهم", "ich will")]
HEADER = 'msgid ""\nmsgstr "Content-Type: text/plain; charset={}\\nPlural-Forms: nplurals={}; plural={};\\n"\n\n'


def write(folder, name: str, text: str):
    (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return folder / name


def test_formats_agree(tmp_path):
    write(tmp_path, "moses.en", "\n" + "".join(f"{source}\n" for source, _ in PAIRS))
    write(tmp_path, "moses.de", "leer\n" + "".join(f"{target}\n" for _, target in PAIRS))
    tsv = write(tmp_path, "x.tsv", "".join(f"{source}\t{target}\n" for source, target in PAIRS) + "\tleer\n")
    rows = "".join(f'{{"translation": {{"en": "{source}", "de": "{target}"}}}}\n' for source, target in PAIRS)
    jsonl = write(tmp_path, "x.jsonl", rows + '{"en": "", "de": "leer"}\n')
    units = "".join(
        f'<tu><tuv xml:lang="DE"><seg>{target}</seg></tuv><tuv xml:lang="en_US"><seg>{source}</seg></tuv></tu>'
        for source, target in PAIRS
    )
    tmx = write(tmp_path, "x.tmx", f'<tmx version="1.4"><header/><body>{units}</body></tmx>')
    entries = "".join(f'msgid "{source}"\nmsgstr "{target}"\n\n' for source, target in PAIRS)
    po = write(tmp_path, "x.po", HEADER.format("UTF-8", 2, "n != 1") + entries)
    packed = tmp_path / "packed.tsv.gz"
    packed.write_bytes(gzip.compress(tsv.read_bytes()))
    mo = tmp_path / "x.mo"
    mo.write_bytes(compiled({"": "Plural-Forms: nplurals=2; plural=n != 1;\n", **dict(PAIRS)}))
    for path in (tmp_path / "moses", tsv, jsonl, tmx, po, packed, mo):
        found = PAIRS if path is not mo else sorted(PAIRS, key=lambda pair: pair[0].encode())
        assert list(read_pairs(path, LANGUAGES)) == found, path.name
        assert [pair for pair in bitext_lines(path, LANGUAGES) if all(pair)] == found, path.name
        assert set(bitext_files(path, LANGUAGES)) == set(LANGUAGES)


def test_a_file_without_pairs_is_named(tmp_path):
    empty = write(tmp_path, "x.tmx", "<tmx><body/></tmx>")
    with pytest.raises(UserError, match=r"x.tmx holds no sentence in 'en' with its translation in 'de'$"):
        list(bitext_lines(empty, LANGUAGES))


def test_columns_and_quotes_of_tsv_are_chosen(tmp_path):
    mined = write(tmp_path, "mined.tsv", '1.1\tsay "a"\tsag "a"\n')
    assert list(read_tsv(mined, columns=(1, 2), num_columns=3)) == [('say "a"', 'sag "a"')]
    written = write(tmp_path, "csv.tsv", '"say ""a"""\tb\n')
    assert list(read_tsv(written, quoted=True)) == [('say "a"', "b")]


PLURAL = 'msgid "%d file"\nmsgid_plural "%d files"\n'


@pytest.mark.parametrize(
    ("count", "rule", "forms", "pairs"),
    [
        (2, "n != 1", ["Datei", "Dateien"], [("%d file", "Datei"), ("%d files", "Dateien")]),
        (1, "0", ["ファイル"], [("%d files", "ファイル")]),
        (
            3,
            "n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2",
            ["файл", "файла", "файлов"],
            [("%d files", "файлов")],  # the form of 1 serves 21 too
        ),
    ],
)
def test_plural_forms_are_paired_by_the_rule_of_the_language(tmp_path, count, rule, forms, pairs):
    strings = "".join(f'msgstr[{index}] "{form}"\n' for index, form in enumerate(forms))
    path = write(tmp_path, "x.po", HEADER.format("UTF-8", count, rule) + PLURAL + strings)
    assert list(read_catalogue(path).pairs()) == pairs


FAULTS = {
    "x.tsv": ("a\tb\nc\td\te\n", r"x.tsv, line 2 has 3 columns instead of 2"),
    "x.jsonl": ('{"en": "a", "de": "b"}\n{"en": "a"}\n', r"x.jsonl, line 2 has no text in 'de'"),
    "list.jsonl": ('["a"]\n', r"list.jsonl, line 1 has no text in 'en'"),
    "broken.jsonl": ("{\n", r"broken.jsonl, line 1, column 2: no valid JSON"),
    "x.tmx": ("<tmx>\n<body></tmx>", r"x.tmx, line 2 is not the XML of a translation memory"),
    "bare.tmx": (
        '<tmx><body><tu tuid="7"><tuv><seg>a</seg></tuv></tu></body></tmx>',
        "unit 7 has a variant that names no",
    ),
    "x.po": ('msgid "a"\nmsgstr open\n', r"x.po, line 2 is 'msgstr open'; a keyword and a string"),
    "half.po": ('msgid "a"\n', r"half.po, line 2: the entry of 'a' ends there without a msgstr"),
    "headless.po": ('msgstr "a"\n', r"headless.po, line 2: an entry ends there that has no msgid"),
    "charset.po": (HEADER.format("klingon", 1, 0), "names the charset 'klingon', which is not known"),
    "wrong.po": (HEADER.format("ASCII", 1, 0) + 'msgid "ä"\nmsgstr "b"\n', r"wrong.po, line 4 is not ascii"),
    "rule.po": (HEADER.format("UTF-8", 1, "n ==") + PLURAL + 'msgstr[0] "b"\n', "which is no plural rule"),
    "none.po": (None, "none.po was to be read, but there is no such file"),
    "none.tmx": (None, "none.tmx was to be read, but there is no such file"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named_with_file_and_line(tmp_path, name):
    text, message = FAULTS[name]
    if text is not None:
        write(tmp_path, name, text)
    with pytest.raises(UserError, match=message):
        list(read_pairs(tmp_path / name, LANGUAGES))


def test_units_are_forgotten_once_they_are_read(tmp_path):
    unit = '<tu><tuv lang="en"><seg>a</seg></tuv><tuv lang="de"><seg>b</seg></tuv></tu>\n'
    path = write(tmp_path, "x.tmx", f"<tmx><body>{unit * 20_000}</body></tmx>")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_tmx(path, LANGUAGES)) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 2


MEMORY = """<?xml version="1.0" encoding="{}"?>
<tmx><body><tu><tuv lang="en"><seg>bridge</seg></tuv><tuv lang="de"><seg>橋</seg></tuv></tu></body></tmx>"""


@pytest.mark.parametrize("encoding", ["shift_jis", "GB18030", "Big5", "EUC-JP", "utf-16", "UTF-8", "utf-32"])
def test_a_memory_is_read_in_the_encoding_that_it_declares(encoding, tmp_path):
    for name, pack in (("x.tmx", bytes), ("x.tmx.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(MEMORY.format(encoding).encode(encoding)))
        if encoding == "utf-32":  # whose declaration no parser of XML finds
            with pytest.raises(UserError, match=r"x.tmx.*, line 1 is not the XML of a translation memory"):
                list(read_tmx(tmp_path / name, LANGUAGES))
        else:
            assert list(read_tmx(tmp_path / name, LANGUAGES)) == [("bridge", "橋")]


@pytest.mark.parametrize("encoding", ["koi-foo", "hex", "rot13", "base64"])
def test_an_encoding_that_there_is_not_is_named(encoding, tmp_path):
    memory = write(tmp_path, "x.tmx", MEMORY.format(encoding))
    with pytest.raises(UserError, match=f"x.tmx declares the encoding '{encoding}', which is not known; correct its"):
        list(read_tmx(memory, LANGUAGES))
    catalogue = write(tmp_path, "x.po", HEADER.format(encoding, 2, "n != 1") + 'msgid "a"\nmsgstr "b"\n')
    with pytest.raises(UserError, match=f"x.po names the charset '{encoding}', which is not known; correct its Cont"):
        read_catalogue(catalogue)


def test_a_memory_in_another_encoding_than_it_declares_is_refused(tmp_path):
    path = tmp_path / "x.tmx"
    path.write_bytes(MEMORY.format("Shift_JIS").encode("shift_jis").replace("橋".encode("shift_jis"), b"\xff"))
    with pytest.raises(UserError, match=r"x.tmx is not shift_jis, the encoding of its XML declaration; correct that"):
        list(read_tmx(path, LANGUAGES))


def test_a_dtd_is_not_fetched_and_entities_outside_are_refused(tmp_path):
    secret = write(tmp_path, "secret.txt", "secret")
    doctype = f'<!DOCTYPE tmx [<!ENTITY out SYSTEM "{secret.as_uri()}">]>'
    segments = '<tuv lang="en"><seg>a&out;</seg></tuv><tuv lang="de"><seg>b</seg></tuv>'
    path = write(tmp_path, "x.tmx", f"{doctype}<tmx><body><tu>{segments}</tu></body></tmx>")
    with pytest.raises(UserError, match="is not the XML of a translation memory"):
        list(read_tmx(path, LANGUAGES))
