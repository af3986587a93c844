"""Files that are no translations end in one sentence with the file and the line; unusual legitimate text is read."""

from pathlib import Path
from typing import Any

import pytest

import mm_kptm
from mm_kptm.cli import main
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.multilingual_text import MultilingualText
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment

GERMAN, ENGLISH = "eins zwei\ndrei\nvier\n", "one two\nthree\nfour\n"
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "max_positions": 40, "dropout": 0.0}
FILE = """name: own
data:
  name: multilingual-text
  vocabulary: {folder}/vocab.txt
  train: {{{key}: {folder}/ted}}
  max_length: 16
  languages: [{languages}]
objectives: {{masked-tokens: 1, translation-language-modeling: 1}}
encoder: {{recipe: xlm-15, sizes: {{dim: 8, num_heads: 2, num_layers: 1, max_positions: 40}}}}
train: {{steps: 1, batch_size: 2}}
out: {folder}/runs
"""


def written(folder: Path, german: bytes, english: bytes = ENGLISH.encode()) -> Path:
    """Files of both languages and a vocabulary."""
    (folder / "ted.de").write_bytes(german)
    (folder / "ted.en").write_bytes(english)
    words = f"{GERMAN} {ENGLISH}".split()
    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *words]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("german", "said"),
    [
        (b"eins\nzwei\n", "but ted.de has 2, ted.en has 3 lines; align "),
        ("eins\ngrün\nvier\n".encode("latin-1"), "/ted.de, line 2 is not UTF-8; save the file in that encoding"),
        (GERMAN.encode("utf-16"), "/ted.de, line 1 is not UTF-8; save the file in that encoding"),
        (GERMAN.encode("utf-16-le"), "/ted.de, line 1 is not UTF-8; save the file in that encoding"),
        (GERMAN.encode("utf-32"), "/ted.de, line 1 is not UTF-8; save the file in that encoding"),
        (b"\n \n\t\n", "/ted.de is empty; a sentence a line was expected"),
        ("\u200b\n\u200b\n\ufeff\n".encode(), "have no line that holds a sentence in each of them"),
    ],
    ids=["unaligned", "latin-1", "utf-16", "utf-16-le", "utf-32", "blank", "zero width"],
)
def test_one_sentence_names_the_file_and_the_line(
    german: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, german)
    file = tmp_path / "own.yaml"
    file.write_text(FILE.format(folder=tmp_path, key="de-en", languages="de, en"))
    code = main(["train", str(file)])
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("mm-kptm: ")]
    assert code == 2 and len(lines) == 1 and said in lines[0], error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("key", "languages", "said"),
    [
        ("de-xx", "de, en", "data.languages has no 'xx', which the files are in; it has de, en"),
        ("de-de", "de, en", "names the languages 'de-de'; name each once"),
        ("de-fr", "de, fr", "ted.fr was to be read, but there is no such file"),
    ],
)
def test_an_unknown_language_is_named(
    key: str, languages: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, GERMAN.encode())
    file = tmp_path / "own.yaml"
    file.write_text(FILE.format(folder=tmp_path, key=key, languages=languages))
    assert main(["train", str(file)]) == 2
    assert said in capsys.readouterr().err


def sentences(folder: Path) -> Any:
    """The rows of ids that masked tokens are drawn from."""
    data = MultilingualText(
        name="multilingual-text", vocabulary=folder / "vocab.txt", train={"de-en": folder / "ted"}, max_length=16
    )
    objectives = {"masked-tokens": 1.0, "translation-language-modeling": 1.0}
    return build(Experiment("own", EncoderSettings("xlm-15", SIZES), data, objectives=objectives)).source("train")


@pytest.mark.parametrize(
    "german",
    [
        "שלום עולם\nمرحبا\nvier\n",
        "e\u0301ins\nz\u0308\u0323wei\nvier\n",
        "ei\u200dns\nzw\u00adei\nvier\n",
        GERMAN.replace("\n", "\r\n"),
    ],
    ids=["right to left", "combining", "joiners", "windows lines"],
)
def test_legitimate_text_is_read(german: str, tmp_path: Path) -> None:
    assert len(sentences(written(tmp_path, german.encode())).inputs["masked-tokens"]) == 6


def test_a_line_that_shows_nothing_is_left_out_with_its_translation(tmp_path: Path) -> None:
    folder = written(tmp_path, "eins zwei\n\u200b\u2060\nvier\n".encode())
    assert len(sentences(folder).inputs["masked-tokens"]) == 4


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, GERMAN.encode())
    data = MultilingualText(
        name="multilingual-text", vocabulary=folder / "vocab.txt", train={"de-en": folder / "ted"}, max_length=16
    )
    encoder = EncoderSettings("xlm-15", {**SIZES, "vocab_size": 9})
    with pytest.raises(
        UserError, match=r"^the vocabulary of the data has 13 pieces, but xlm-15 has vectors of 9; leave encoder\.sizes"
    ):
        build(Experiment("own", encoder, data, objectives={"masked-tokens": 1.0}))


def test_weights_of_the_same_size_with_other_pieces_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, GERMAN.encode())
    own = f"{GERMAN} {ENGLISH}".split()
    system = mm_kptm.build("xlm-15", **SIZES, vocab_size=len(BERT_SPECIALS) + len(own), num_languages=2)
    data = MultilingualText(
        name="multilingual-text", vocabulary=folder / "vocab.txt", train={"de-en": folder / "ted"}, max_length=16
    )
    weights = folder / "model"
    experiment = Experiment("own", EncoderSettings("xlm-15", weights=weights), data, objectives={"masked-tokens": 1.0})
    mm_kptm.save(system, weights)
    (weights / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *own]) + "\n")
    build(experiment)
    (weights / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *(f"##{word.upper()}</w>" for word in own)]) + "\n")
    build(experiment)  # the same words in another library's spelling
    (weights / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *reversed(own)]) + "\n")
    with pytest.raises(
        UserError,
        match=r"^the vocabulary of the data is not that of .*model: 8 of 13 pieces have other numbers, such as 'four',"
        r" in the place of which it has 'eins'; name the tokenizer that the weights were trained with$",
    ):
        build(experiment)
