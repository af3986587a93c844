"""Captions stand beside their translations with their words aligned, or change their words in every batch."""

import json

import numpy as np
import pytest
import torch

from mm_kptm.data.formats.vision.translated_captions import read_translated_captions
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.pretraining.multilingual_captions import SwitchedCaptions, caption_pairs, read_translations
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import TextEncoding

WORDS = ["a", "dog", "##gy", "runs", "ein", "hund", "rennt", "chien"]


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    return WordPiece.open(tmp_path / "vocab.txt", lowercase=True)


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


PAIR = {"image": "1.jpg", "caption": "a doggy  runs", "translation": "hund rennt ein", "languages": ["en", "de"]}


def test_pieces_of_aligned_words_share_a_group(tokenizer, tmp_path):
    examples = read_translated_captions(lines(tmp_path / "t.jsonl", {**PAIR, "alignment": "1-0 2-1"}))
    source = caption_pairs(examples, TextEncoding(tokenizer, 20), lambda texts: texts)
    text = source.batch([0], seeded(0, 0)).text
    spelled = [tokenizer.vocabulary[token] for token in text.ids.tolist()]
    assert spelled == ["[CLS]", "a", "dog", "##gy", "runs", "[SEP]", "[CLS]", "hund", "rennt", "ein", "[SEP]"]
    assert text.mask_groups.tolist() == [-1, 0, 1, 1, 2, -1, -1, 1, 2, -1, -1]
    assert text.positions.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4]
    with pytest.raises(UserError, match=r"^a caption is in 'de', but data.languages has en$"):
        caption_pairs(examples, TextEncoding(tokenizer, 20, ("en",)), lambda texts: texts)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alignment": "0-9"}, r"'alignment' joins the words 0-9, but caption and translation have 3 and 3, counted"),
        ({"alignment": "0:1"}, r"'alignment' must be pairs such as 0-0 1-2, but it holds '0:1'"),
        ({"languages": ["en", "en"]}, r"'languages' must name two languages, but it is "),
        ({"caption": " "}, r"has an empty caption or translation; both must hold words"),
    ],
)
def test_lines_that_break_the_form_are_named(change, sentence, tmp_path):
    with pytest.raises(UserError, match=rf"t.jsonl, line 1:? {sentence}"):
        read_translated_captions(lines(tmp_path / "t.jsonl", {**PAIR, **change}))


def test_words_are_switched_anew_in_every_batch_and_alike_from_one_seed(tokenizer, tmp_path):
    (tmp_path / "words.json").write_text(json.dumps({"dog": {"de": ["hund"], "fr": ["chien"]}}))
    dictionary = read_translations(tmp_path / "words.json")
    texts = ["a dog runs"] * 4
    reading = TextEncoding(tokenizer, 12)
    plain = InputSource(reading.pack([([2, 5, 6, 8, 3], [0] * 5)] * 4, ["en"] * 4))
    source = SwitchedCaptions(plain, texts, tokenizer, 12, dictionary, sentence_rate=1.0)

    def said(seed: int) -> list[str]:
        text = source.batch(range(4), torch.Generator().manual_seed(seed)).text
        rows = np.split(text.ids.numpy(), text.layout.offsets[1:-1])
        return [" ".join(tokenizer.vocabulary[token] for token in row) for row in rows]

    first = said(0)
    assert set(first) <= {"[CLS] a hund runs [SEP]", "[CLS] a chien runs [SEP]"}
    assert first == said(0) and len({tuple(said(seed)) for seed in range(6)}) > 1
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(UserError, match=r"words.json holds no word; translations of words by language were expected$"):
        read_translations(tmp_path / "words.json")
