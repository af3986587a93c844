"""Tokenizers are learnt from files and read like those of published models."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from mm_kptm.cli import main
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import framed
from mm_kptm.data.tokenizers.training import KINDS, Kind, train_tokenizer
from mm_kptm.errors import UserError

LINES = [
    "The small house is red.", "Das kleine Haus ist rot.", "La petite maison est rouge.", "Маленький дом красный.",
    "سفينة كبيرة", "小さな家は赤い", "ĵaŭdo é naïf", "a\u200db 👩\u200d🚀",
]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES * 8) + "\n\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_trained_and_opened(kind: Kind, text: Path, tmp_path: Path) -> None:
    code = main(
        [
            "tokenizer",
            "train",
            "--kind",
            kind,
            "--files",
            str(text),
            "--vocab-size",
            "400",
            "--out",
            str(tmp_path / kind),
        ]
    )
    assert code == 0
    ours = open_tokenizer(tmp_path / kind)
    theirs = Tokenizer.from_file(str(tmp_path / kind / "tokenizer.json"))
    for line in LINES:
        pieces = ours.encode(line)
        assert theirs.encode(line).ids == framed(ours.specials, pieces.ids)[0]
        assert theirs.encode(line, line).ids == framed(ours.specials, pieces.ids, pieces.ids)[0]
        assert ours.specials.unknown not in pieces.ids
        assert all(0 <= start <= end <= len(line) for start, end in pieces.spans)
    assert ours.specials.between == (1 if kind in ("wordpiece", "t5") else 2)
    assert ours.specials.opens == (kind != "t5")


def test_a_vocabulary_of_t5_ends_with_sentinels_that_no_text_has(text: Path) -> None:
    trained = train_tokenizer([text], "t5", vocab_size=300)
    last = trained.get_vocab_size() - 1
    assert [trained.id_to_token(last - number) for number in (0, 1, 99)] == [
        "<extra_id_0>",
        "<extra_id_1>",
        "<extra_id_99>",
    ]
    assert [trained.id_to_token(number) for number in (0, 1, 2)] == ["<pad>", "</s>", "<unk>"]
    with pytest.raises(UserError, match=r"^a vocabulary of 100 pieces was asked for; t5 needs more than 104$"):
        train_tokenizer([text], "t5", vocab_size=100)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "t5"])
def test_text_comes_back_from_its_pieces(kind: Kind, text: Path) -> None:
    trained = train_tokenizer([text], kind, vocab_size=400)
    for line in LINES[:7]:
        assert trained.decode(trained.encode(line).ids).strip() == line


def test_bytes_make_every_text_known(text: Path) -> None:
    trained = train_tokenizer([text], "bpe", vocab_size=300)
    line = "ᚠ never seen"
    assert trained.decode(trained.encode(line).ids).strip() == line


def test_the_same_files_give_the_same_pairs_of_bytes(text: Path) -> None:
    one, other = (train_tokenizer([text], "bpe", vocab_size=350) for _ in range(2))
    assert one.to_str() == other.to_str() and one.get_vocab_size() <= 350


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_no_more_pieces_than_asked_for(kind: Kind, text: Path) -> None:
    assert train_tokenizer([text], kind, vocab_size=300).get_vocab_size() <= 300


def test_text_may_be_lower_cased(text: Path) -> None:
    for kind in KINDS:
        trained = train_tokenizer([text], kind, vocab_size=350, lowercase=True)
        assert trained.encode("THE small").ids == trained.encode("the small").ids


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, text: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(UserError, match=r"empty.txt hold no text to train a tokenizer on$"):
        train_tokenizer([empty], "bpe", vocab_size=300)
    with pytest.raises(UserError, match=r"^a vocabulary of 200 pieces was asked for; bpe needs more than 261$"):
        train_tokenizer([text], "bpe", vocab_size=200)
    with pytest.raises(UserError, match=r"^a tokenizer of kind 'words' was asked for; there are bpe, uni"):
        train_tokenizer([text], "words")  # type: ignore[arg-type]
    wide = tmp_path / "wide.txt"
    wide.write_bytes("zwölf\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"wide.txt"):
        train_tokenizer([wide], "unigram")
