"""Every tokenizer knows the characters of its pieces, whatever stands between and on them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from mm_kptm.data.tokenizers.fastbpe import FastBpe
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Tokenizer
from mm_kptm.data.tokenizers.tokenizer_json import ROBERTA_SPECIALS, TokenizerJson
from mm_kptm.data.tokenizers.word_level import WordLevel
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.characters import Characters

#: A text around a mention; what a tokenizer may drop, shift or split is on both sides and inside.
TRICKY = (
    ("we saw ", "Rome", " today"),
    ("we\u00a0saw\t", "New York", "\r\nand left"),
    ("他在", "上海市", "工作。"),
    ("im ", "cafe\u0301", " dort"),
    ("größer als ", "İstanbul", ", İzmir"),
    ("😀👩\u200d🚀 in ", "Café 😀", "!"),
    ("«", "L'Aquila", "»: a\u0301\u0323b"),
    ("a\x00b\u200b ", "Fuß\u00adball", " spielen"),
    ("(", "नई दिल्ली", ") और"),
    ("\u3000ＮＢＡ和", "パﾊﾟ", "。"),
)
LETTERS = sorted({letter for parts in TRICKY for part in parts for letter in part if not letter.isspace()})


def _plain(letters: list[str]) -> list[str]:
    """With what they become in lower case and without accents."""
    found = {
        piece
        for letter in letters
        for piece in (letter, *letter.lower(), *unicodedata.normalize("NFD", letter.lower()))
    }
    return sorted(found)


def byte_level() -> TokenizerJson:
    engine = Engine(models.BPE(unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=list(ROBERTA_SPECIALS), initial_alphabet=alphabet)
    engine.train_from_iterator(["we saw Rome today", "New York"] * 9, trainer)
    return TokenizerJson(engine)


def unigrams() -> TokenizerJson:
    pieces = [(piece, -9.0) for piece in (*ROBERTA_SPECIALS, "▁", *_plain(LETTERS))]
    engine = Engine(models.Unigram([*pieces, ("▁Rome", -1.0), ("▁New", -1.0)], unk_id=1, byte_fallback=False))
    engine.normalizer = normalizers.NFKC()
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    return TokenizerJson(engine)


def pieces_of(*, lowercase: bool) -> WordPiece:
    letters = [letter for letter in _plain(LETTERS) if letter.isprintable()]
    return WordPiece((*BERT_SPECIALS, *letters, *(f"##{letter}" for letter in letters), "##rk"), lowercase=lowercase)


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "word pieces, cased": lambda: pieces_of(lowercase=False),
    "word pieces, uncased": lambda: pieces_of(lowercase=True),
    "byte-level": byte_level,
    "unigrams": unigrams,
    "fastBPE, cased": lambda: FastBpe(LETTERS, [("R", "o"), ("m", "e</w>")], lowercase=False),
    "fastBPE, uncased": lambda: FastBpe(LETTERS, [("r", "o"), ("m", "e</w>")], lowercase=True),
    "whole words": lambda: WordLevel((*BERT_SPECIALS, "rome"), lambda text, _: text.split()),
    "characters": lambda: Characters((*BERT_SPECIALS, *LETTERS)),
}
WHOLE_WORDS = ("whole words",)


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param]()


@pytest.mark.parametrize("parts", TRICKY)
@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name not in WHOLE_WORDS])
def test_the_pieces_of_a_mention_cover_it_and_nothing_else(name, parts):
    """Pieces are a character or bytes of one here, so that they can."""
    before, mention, behind = parts
    start, end = len(before), len(before) + len(mention)
    pieces = TOKENIZERS[name]().encode(before + mention + behind)
    spans = [pieces.spans[piece] for piece in pieces.covering(start, end)]
    covered = {place for first, last in spans for place in range(first, last)}
    seen = {place for place in range(start, end) if _seen((before + mention)[place])}
    assert seen <= covered <= set(range(start, end))


def _seen(letter: str) -> bool:
    """Whether every tokenizer keeps the character: no blank, no control, no mark that vanishes in a letter."""
    return not letter.isspace() and unicodedata.category(letter)[0] not in "CM" and letter != "\uff9f"


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(), text=st.text(st.sampled_from([*"aRé\u0301上😀 \t\u00a0\r\nİß.", "\u0e33", "\ud7ff"]), max_size=14)
)
def test_pieces_are_in_order_and_every_span_finds_all_of_its_own(tokenizer, data, text):
    pieces = tokenizer.encode(text)
    assert all(0 <= start < end <= len(text) for start, end in pieces.spans)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(pieces.spans, pieces.spans[1:], strict=False))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    found = [at for at, (first, last) in enumerate(pieces.spans) if first < end and last > start]
    assert list(pieces.covering(start, end)) == (found if start < end else [])


def test_a_tokenizer_is_read_from_its_file(tmp_path: Path):
    engine = byte_level()._engine
    engine.enable_truncation(2)
    engine.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        read = TokenizerJson.open(path)
        assert len(read) == len(byte_level())
        assert read.encode("we saw Rome") == byte_level().encode("we saw Rome")
        assert (read.specials.pad, read.specials.mask) == (0, 4)
    assert len(read.encode("we saw Rome").ids) > 2  # not cut off as the file says


def test_what_is_no_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"a tokenizer was looked for in .*tokenizer.json, but there is no such file"):
        TokenizerJson.open(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer.json is no tokenizer of the tokenizers library"):
        TokenizerJson.open(tmp_path)
    with pytest.raises(UserError, match=r"the tokenizer has neither \[PAD\], .* nor <pad>, <unk>, <s>, </s>, <mask>"):
        TokenizerJson(Engine(models.WordLevel({"[PAD]": 0}, "[PAD]")))
