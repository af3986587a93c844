"""Tokenizers are learnt from files and read like those of published models."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from mm_kptm.cli import main
from mm_kptm.data.tokenizers.opening import open_tokenizer
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
        framed = [ours.specials.start, *pieces.ids, ours.specials.stop]
        assert theirs.encode(line).ids == framed
        assert ours.specials.unknown not in pieces.ids
        assert all(0 <= start <= end <= len(line) for start, end in pieces.spans)
    assert ours.specials.between == (1 if kind == "wordpiece" else 2)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
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
