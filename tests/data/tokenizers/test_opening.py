"""A path names the tokenizer that lies there, of whichever kind it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import RobertaTokenizerFast

from mm_kptm.data.tokenizers.added_tokens import PlaceholderTokenizer
from mm_kptm.data.tokenizers.fastbpe import FastBpe
from mm_kptm.data.tokenizers.opening import holds_tokenizer, open_tokenizer, tokenizer_files
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Specials, framed
from mm_kptm.data.tokenizers.tokenizer_json import TokenizerJson
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from tests.data.tokenizers.byte_pairs import learnt, saved

TEXTS = ["Anna was born in Rome.", "Rome is old."] * 9
TRICKY = "Anna  was\tborn in <mask> Rome, \u00e9t\u00e9 \U0001f600 [MASK]."
FORMS = ("library", "hugging-face", "fairseq")


@pytest.mark.parametrize("form", FORMS)
def test_byte_level_pairs_are_the_same_in_every_published_form(tmp_path, form):
    engine = learnt(TEXTS)
    read = open_tokenizer(saved(engine, tmp_path, form))
    engine.encode_special_tokens = True
    expected = engine.encode(TRICKY, add_special_tokens=False)
    assert (read.encode(TRICKY).ids, read.encode(TRICKY).texts) == (tuple(expected.ids), tuple(expected.tokens))
    assert read.specials == Specials(pad=1, unknown=3, start=0, stop=2, mask=len(read) - 1, between=2)
    assert len(read) == len(read.vocabulary) == engine.get_vocab_size()
    assert read.vocabulary[read.specials.mask] == "<mask>"


@pytest.mark.parametrize("form", FORMS)
def test_the_text_comes_back_from_its_byte_level_pieces(tmp_path, form):
    read = open_tokenizer(saved(learnt(TEXTS), tmp_path, form))
    assert isinstance(read, TokenizerJson)
    pieces = read.encode("Anna was born in Rome.")
    assert [read.words[number] for number in pieces.ids] == ["Anna", "was", "born", "in", "Rome", "."]
    assert [piece.removeprefix("\u0120") for piece in pieces.texts] == ["Anna", "was", "born", "in", "Rome", "."]


def test_markers_in_a_text_are_plain_text(tmp_path):
    read = open_tokenizer(saved(learnt(TEXTS), tmp_path, "library"))
    assert not {read.specials.mask, read.specials.stop} & set(read.encode("a <mask> and </s>").ids)


def test_numbers_that_no_piece_has_still_count(tmp_path):
    engine = json.loads(learnt(TEXTS).to_str())
    engine["added_tokens"][-1]["id"] += 5
    (tmp_path / "tokenizer.json").write_text(json.dumps(engine))
    read = open_tokenizer(tmp_path)
    assert read.specials.mask < len(read)


def test_two_stops_stand_between_the_parts_of_a_pair_as_robertas_do(tmp_path):
    specials = open_tokenizer(saved(learnt(TEXTS), tmp_path, "hugging-face")).specials
    assert framed(specials, (7, 8), (9,)) == ([0, 7, 8, 2, 2, 9, 2], [0, 0, 0, 0, 0, 1, 1])
    assert [specials.around(parts) for parts in (1, 2, 3)] == [2, 4, 6]
    assert [Specials(0, 1, 2, 3, 4).around(parts) for parts in (1, 2, 3)] == [2, 3, 4]


def test_one_of_two_files_names_both(tmp_path):
    for form, pair in (("hugging-face", ("vocab.json", "merges.txt")), ("fairseq", ("encoder.json", "vocab.bpe"))):
        folder = saved(learnt(TEXTS), tmp_path / form, form)
        for name in pair:
            assert open_tokenizer(folder / name).encode(TRICKY) == open_tokenizer(folder).encode(TRICKY)
            assert tokenizer_files(folder / name) == tokenizer_files(folder)
    assert [file.name for file in tokenizer_files(folder)] == ["encoder.json", "vocab.bpe", "dict.txt"]


def test_word_pieces_are_cased_as_was_said_or_as_they_show(tmp_path):
    for pieces, cased in ((("rome",), False), (("rome", "Rome"), True)):
        (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *pieces]))
        for path in (tmp_path, tmp_path / "vocab.txt"):
            read = open_tokenizer(path)
            assert isinstance(read, WordPiece)
            assert read.encode("Rome").texts == (("Rome",) if cased else ("rome",))
        assert open_tokenizer(tmp_path, lowercase=True).encode("Rome").texts == ("rome",)
        assert open_tokenizer(tmp_path, lowercase=False).encode("Rome").texts == (("Rome",) if cased else ("[UNK]",))


def test_xlms_two_files_are_read_from_their_folder(tmp_path):
    (tmp_path / "codes_xnli_15").write_text("r o 9\nm e</w> 8\nro me</w> 7\n")
    (tmp_path / "vocab_xnli_15").write_text("rome 9\nwas 8\n")
    read = open_tokenizer(tmp_path, lowercase=True)
    assert isinstance(read, FastBpe)
    assert read.encode("Rome").texts == ("rome",)
    assert read.specials.between == 1
    assert open_tokenizer(tmp_path).encode("Rome") == read.encode("Rome")
    assert len(tokenizer_files(tmp_path)) == 2


def test_what_lies_beside_a_tokenizer_is_passed_over(tmp_path):
    saved(learnt(TEXTS), tmp_path, "hugging-face")
    (tmp_path / "config.json").write_text("{}")
    assert [file.name for file in tokenizer_files(tmp_path)] == ["vocab.json", "merges.txt"]
    saved(learnt(TEXTS), tmp_path, "library")
    assert [file.name for file in tokenizer_files(tmp_path)] == ["tokenizer.json"]
    assert holds_tokenizer(tmp_path)


def test_what_is_no_tokenizer_is_refused_in_one_sentence(tmp_path: Path):
    assert not holds_tokenizer(tmp_path)
    (tmp_path / "empty").mkdir()
    refused = {
        tmp_path / "empty": r"holds no tokenizer; one of tokenizer.json, vocab.txt, .*vocab.json with merges.txt, ",
        tmp_path / "gone": r"a vocabulary was looked for in .*gone, but there is no such file",
    }
    for name, text, message in (
        ("spm.model", "", r"spm.model is no model of SentencePiece: it has no piece"),
        ("train.jsonl", '{"text": "a"}', r"train.jsonl has no \[PAD\], .*; a vocabulary holds"),
        ("config.json", "{}", r"config.json is no tokenizer of the tokenizers library"),
        ("vocab.json", "{}", r"vocab.json is one of two files of byte-level pairs, but there is no merges.txt"),
    ):
        (tmp_path / name).write_text(text)
        refused[tmp_path / name] = message
    for path, message in refused.items():
        with pytest.raises(UserError, match=message):
            open_tokenizer(path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    folder = saved(learnt(TEXTS), tmp_path / "a", "fairseq")
    (folder / "dict.txt").unlink()
    with pytest.raises(UserError, match=r"encoder.json has no <pad>, .*as GPT-2 does, fairseq's dict.txt belongs"):
        open_tokenizer(folder)
    (folder / "dict.txt").write_text("99999 1\n")
    with pytest.raises(UserError, match=r"dict.txt, line 1: there is no piece 99999 among the \d+ of encoder.json"):
        open_tokenizer(folder)
    folder = saved(learnt(TEXTS), tmp_path / "b", "hugging-face")
    (folder / "merges.txt").write_text("q z\n")
    with pytest.raises(UserError, match=r"merges.txt and .*vocab.json do not belong together"):
        open_tokenizer(folder)
    (folder / "merges.txt").write_text("a b c\n")
    with pytest.raises(UserError, match=r"merges.txt, line 1: a merge is two pieces with a blank between, not 'a b c'"):
        open_tokenizer(folder)
    (folder / "vocab.json").write_text('{"a": "b"}')
    with pytest.raises(UserError, match=r"vocab.json: 'a' must be a whole number, but it is"):
        open_tokenizer(folder)


def test_texts_pairs_and_blanks_are_framed_as_by_the_tokenizer_of_transformers(tmp_path):

    folder = saved(learnt(TEXTS), tmp_path, "hugging-face")
    theirs = RobertaTokenizerFast.from_pretrained(str(folder), mask_token=AddedToken("<mask>", lstrip=True))
    ours = open_tokenizer(folder)
    first, second = "Anna was  born, \u00e9t\u00e9 \U0001f600", "Rome isn't\told."
    assert framed(ours.specials, ours.encode(first).ids)[0] == theirs(first)["input_ids"]
    assert (
        framed(ours.specials, *(ours.encode(text).ids for text in (first, second)))[0]
        == (theirs(first, second)["input_ids"])
    )
    blanked = PlaceholderTokenizer(ours, {"<mask>": ours.specials.mask})
    for text in ("Anna was born in <mask>, today.", "<mask> is old.", "Rome is <mask> and old"):
        assert framed(ours.specials, blanked.encode(text).ids)[0] == theirs(text)["input_ids"]
