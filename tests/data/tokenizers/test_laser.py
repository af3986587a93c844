"""LASER's tokenizer: Moses' words in lower case, pairs within a vocabulary, and ids of the published dictionary."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.data.tokenizers import moses
from mm_kptm.data.tokenizers.fastbpe import FastBpe
from mm_kptm.data.tokenizers.laser import LaserTokenizer
from mm_kptm.data.tokenizers.moses import origins, prepared, segmented
from mm_kptm.data.tokenizers.opening import open_tokenizer, tokenizer_files
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError

MERGES = [("l", "o"), ("lo", "w</w>"), ("e", "r</w>"), ("lo", "w"), ("low", "er</w>")]
WORDS = ["lo@@", "w", "er", "l@@", "o@@", "w@@", "e@@", "r", ","]


def tokenizer(words: list[str] = WORDS) -> LaserTokenizer:
    return LaserTokenizer(words, MERGES)


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("Don't panic, Mr. Smith!", "en", "don 't panic , mr. smith !"),
        ("L'été, c'est « fini ».", "fr", "l' été , c' est \" fini \" ."),
        ("Zum 3. Mal: z.B. 3,5 %…", "de", "zum 3. mal : z.b. 3,5 % ..."),
        ("A &amp; B &#91;x&#93;", "en", "a & b [ x ]"),
        ("ИСТИНА, и точка.", "ru", "истина , и точка ."),
        ("«مرحبا» بالعالم!", "ar", '" مرحبا " بالعالم !'),
        ("kaf\u00e9 e\u0301", "xx", "kaf\u00e9 e \u0301"),  # a combining mark is no letter of a word there
        ("a\u200bb\tc\u00adc", "en", "a b c c"),
        ("   ", "en", ""),
    ],
)
def test_words_are_those_of_moses_in_lower_case(text: str, language: str, words: str) -> None:
    assert prepared(text, language) == words


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("Don't panic, Mr. Smith!", "en", "Don 't panic , Mr. Smith !"),
        ("L’été… « fini ».", "fr", 'L\' été ... " fini " .'),
        ("（１２％）。Ende：", "de", "( 12 % ) . Ende :"),
        ("ИСТИНА, и точка.", "ru", "ИСТИНА , и точка ."),
        ("«مرحبا» بالعالم!", "ar", '" مرحبا " بالعالم !'),
        ("a\u200bb\tc\u00adc", "en", "a b c c"),
        ("A &amp; B", "en", "A & amp ; B"),  # entities are LASER's affair
        (" \u200b ", "en", ""),
    ],
)
def test_words_of_xlm_keep_their_case(text: str, language: str, words: str) -> None:
    assert segmented(text, language) == words


def test_chinese_thai_and_japanese_of_xlm_are_cut_by_their_own_libraries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "jieba", SimpleNamespace(cut=lambda text: [text[:2], text[2:]]))
    monkeypatch.setitem(
        sys.modules, "pythainlp.tokenize", SimpleNamespace(word_tokenize=lambda text: [text[:3], " ", text[3:]])
    )
    tagger = SimpleNamespace(getWS=lambda text: (text[0], text[1:]))
    monkeypatch.setitem(sys.modules, "Mykytea", SimpleNamespace(Mykytea=lambda options: tagger))
    model = tmp_path / "model.bin"
    monkeypatch.setattr(moses, "_KYTEA_MODELS", (tmp_path / "gone", model))
    moses._kytea.cache_clear()
    assert segmented("我们在家，好", "zh") == segmented("我们在家，好", "cmn") == "我们 在家,好"
    assert segmented("ฉันไป", "th") == segmented("ฉันไป", "tha") == "ฉัน ไป"
    with pytest.raises(UserError, match=r"KyTea, whose model is not installed \(.*/model.bin of Debian"):
        segmented("私は", "ja")
    model.touch()
    assert segmented("私は", "ja") == "私 は"
    moses._kytea.cache_clear()


def test_no_language_is_english() -> None:
    assert prepared("It's") == prepared("It's", "en") == "it 's"


def test_chinese_and_japanese_are_cut_by_their_own_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", SimpleNamespace(cut=lambda text: [text[:2], text[2:]]))
    tagger = SimpleNamespace(parse=lambda text: f"{text[0]} {text[1:]}\n")
    monkeypatch.setitem(sys.modules, "MeCab", SimpleNamespace(Tagger=lambda how: tagger if how == "-Owakati" else None))
    moses._mecab.cache_clear()
    assert prepared("我们在家", "zh") == prepared("我们在家", "cmn") == "我们 在家"
    assert prepared("私は", "ja") == prepared("私は", "jpn") == "私 は"
    moses._mecab.cache_clear()


def test_greek_is_romanised(monkeypatch: pytest.MonkeyPatch) -> None:
    def translit(text: str, language: str, *, reversed: bool) -> str:
        assert (language, reversed) == ("el", True)
        return text.replace("Ν", "N").replace("α", "a").replace("ι", "i")

    monkeypatch.setitem(sys.modules, "transliterate", SimpleNamespace(translit=translit))
    assert prepared("Ναι.", "el") == "nai ."
    assert prepared("Ναι.", "el", romanized=False) == "ναι ."


@pytest.mark.parametrize(
    ("language", "name", "package"),
    [("zh", "jieba", "jieba"), ("ja", "MeCab", "mecab-python3 unidic-lite"), ("el", "transliterate", "transliterate")],
)
def test_a_missing_library_is_named(language: str, name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    moses._mecab.cache_clear()
    message = f"texts in {language} are cut with {name}, which is not installed; pip install {package}, or give text"
    with pytest.raises(UserError, match=message):
        prepared("我", language)


def test_what_the_vocabulary_lacks_is_taken_apart() -> None:
    """Where XLM's tokenizer, whose merges ignore the vocabulary, has an unknown piece."""
    pieces = tokenizer().encode("Lower, low")
    assert pieces.texts == ("lo@@", "w@@", "er", ",", "lo@@", "w")
    assert pieces.ids == (4, 9, 6, 12, 4, 5)
    assert pieces.spans == ((0, 2), (2, 3), (3, 5), (5, 6), (7, 9), (9, 10))
    assert FastBpe(WORDS, MERGES, lowercase=False).encode("lower , low").texts == ("lower", ",", "low")
    assert tokenizer([*WORDS, "low@@"]).encode("lower").texts == ("low@@", "er")
    assert tokenizer(["x"]).encode("low").texts == ("l@@", "o@@", "w")
    assert tokenizer().encode("x").ids == (3,)


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet="lower ", max_size=20),
    st.lists(st.sampled_from([*WORDS, "low@@", "low", "lower", "er"]), max_size=8, unique=True),
)
def test_pieces_spell_the_words_and_are_known_or_without_a_merge(text: str, words: list[str]) -> None:
    cut = LaserTokenizer(words, MERGES, cut=False)
    pieces = cut.encode(text)
    spelt = "".join(piece.removesuffix("@@") if piece.endswith("@@") else f"{piece} " for piece in pieces.texts)
    assert spelt.split() == text.split()
    assert all(piece in words or len(piece.removesuffix("@@")) == 1 for piece in pieces.texts)
    assert [text[first:last] for first, last in pieces.spans] == [piece.removesuffix("@@") for piece in pieces.texts]


def test_special_tokens_stand_as_in_the_published_checkpoint() -> None:
    assert tokenizer().specials == Specials(pad=1, unknown=3, start=0, stop=2, mask=3, opens=False)
    assert tokenizer().vocabulary[:5] == ("<s>", "<pad>", "</s>", "<unk>", "lo@@")
    assert len(tokenizer()) == 4 + len(WORDS)


@pytest.mark.parametrize(
    ("text", "cut", "found"),
    [
        ("Wait...", "wait ...", [0, 1, 2, 3, 3, 4, 5, 6]),
        ("…no", "... no", [0, 0, 0, 0, 1, 2]),
        ("", "", []),
        ("İa", "i̇a", [0, 0, 1]),
    ],
)
def test_characters_know_where_they_come_from(text: str, cut: str, found: list[int]) -> None:
    assert origins(text, cut) == found


def written(folder: Path, **more: object) -> Path:
    (folder / "93langs.fcodes").write_text("".join(f"{a} {b} 9\n" for a, b in MERGES), "utf-8")
    (folder / "93langs.fvocab").write_text("".join(f"{word} 9\n" for word in WORDS), "utf-8")
    for name, content in more.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return folder


def test_the_published_files_are_opened_by_folder_or_by_either_name(tmp_path: Path) -> None:
    folder = written(tmp_path)
    files = (folder / "93langs.fcodes", folder / "93langs.fvocab")
    for path in (folder, *files):
        assert tokenizer_files(path) == files
        opened = open_tokenizer(path)
        assert opened.encode("LOWER").ids == (4, 9, 6)
    files[0].unlink()
    with pytest.raises(UserError, match=r"LASER's tokenizer, but there is no 93langs.fcodes beside it$"):
        tokenizer_files(files[1])


def test_ids_are_those_of_the_dictionary(tmp_path: Path) -> None:
    ids = {piece: 20 - number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS, *"abcdefgh"])}
    opened = open_tokenizer(written(tmp_path, dictionary=ids))
    assert opened.specials == Specials(pad=19, unknown=17, start=20, stop=18, mask=17, opens=False)
    assert opened.encode("low").ids == (16, 15)
    (tmp_path / "dictionary.json").write_text(json.dumps({"<pad>": 0, "</s>": 2}))
    with pytest.raises(UserError, match="the 2 ids of LASER's pieces must be 0, 1, 2 and so on, each once"):
        open_tokenizer(tmp_path)
    (tmp_path / "dictionary.json").write_text(json.dumps({"<pad>": 0, "</s>": 1}))
    with pytest.raises(UserError, match="LASER's dictionary has no <unk>; take that of the published checkpoint"):
        open_tokenizer(tmp_path)
