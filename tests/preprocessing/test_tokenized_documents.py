"""Sentences are tokenized many at once as they are one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers

from mm_kptm.data.formats.documents import written
from mm_kptm.data.token_store import tokenized
from mm_kptm.data.tokenizers.batch import encode_batch
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.tokenizer_json import ROBERTA_SPECIALS, TokenizerJson
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.preprocessing.tokenized_documents import SentenceTokenizer, TokenizedDocuments

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDPIECE = WordPiece(
    [*BERT_SPECIALS, *LETTERS, *(f"##{c}" for c in LETTERS), "new", "##er", "使", "用"], lowercase=True
)
SENTENCES = [
    "New York is bigger", "", "  \u3000 ", "使用 New-york, é\u0301 Straße ß", "A", "ﬁne İstanbul \x00 x\u200by",
    "Ünder  THE\tsea 🐟🐟 ok", "tail ", "\u00ad", "日本 new",
]  # fmt: skip


def byte_level() -> TokenizerJson:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = {piece: number for number, piece in enumerate([*ROBERTA_SPECIALS, *alphabet, "ne", "Ġn"])}
    engine = Engine(models.BPE(pieces, [("n", "e"), ("Ġ", "n")]))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=False)
    engine.add_special_tokens(list(ROBERTA_SPECIALS))
    return TokenizerJson(engine)


class OneByOne:
    """A tokenizer that cuts single texts only."""

    def __init__(self) -> None:
        self.specials, self.vocabulary = WORDPIECE.specials, WORDPIECE.vocabulary

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text, language=None):
        return WORDPIECE.encode(text, language)


TOKENIZERS = {"wordpiece": WORDPIECE, "byte-level": byte_level(), "one by one": OneByOne()}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_batch_of_texts_has_the_pieces_of_each(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    found = encode_batch(tokenizer, SENTENCES)
    assert len(encode_batch(tokenizer, [])) == 0
    for number, text in enumerate(SENTENCES):
        pieces = tokenizer.encode(text)
        columns, _ = found.take([number])
        assert columns["ids"].tolist() == list(pieces.ids), text
        assert list(zip(columns["starts"].tolist(), columns["stops"].tolist(), strict=True)) == list(pieces.spans), text


@pytest.mark.parametrize("blanks", [False, True])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_sentences_are_those_made_one_by_one(name: str, blanks: bool) -> None:
    """Ids, units and capitals; with phrases in some of the sentences, and random text besides."""
    dice = random.Random(0)
    texts = SENTENCES + ["".join(dice.choices("aB é使ß.\u0301 🐟-", k=dice.randrange(30))) for _ in range(60)]
    phrases = [[(0, 8)] if text.startswith("New York") else [] for text in texts]
    tokenizer = TOKENIZERS[name]
    tokenize = SentenceTokenizer(tokenizer, blanks, lambda some: [phrases[texts.index(text)] for text in some])
    found = tokenized(enumerate(texts), tokenize)
    expected = [written(text, tokenizer, phrases[n], blanks=blanks) for n, text in enumerate(texts)]
    kept = [number for number, one in enumerate(expected) if one.ids]
    assert len(kept) < len(texts) == len(kept) + found.dropped["sentences without a token"]
    assert found.of_sequences["document"].tolist() == kept
    for number, place in enumerate(kept):
        columns, _ = found.rows.take([number])
        assert tuple(columns["ids"].tolist()) == expected[place].ids
        assert tuple(columns["units"].tolist()) == expected[place].units, texts[place]
        assert tuple(columns["capitals"].astype(bool).tolist()) == expected[place].capitals, texts[place]


def test_documents_know_their_sentences() -> None:
    items = [(0, "new"), (0, "york"), (1, "\u00ad"), (2, "is")]
    found = TokenizedDocuments.read(tokenized(items, SentenceTokenizer(WORDPIECE, False)))
    assert len(found) == 2 and found.firsts.tolist() == [0, 2, 3]
    assert found.ids(0, 2) == WORDPIECE.encode("new york").ids
    assert {column.dtype for column in found.sentences.columns.values()} == {np.dtype(np.uint8)}
