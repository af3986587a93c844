"""XQuAD, MLQA and TyDi QA run from their files to a submission that passes its check."""

import json
from dataclasses import replace

import pytest

from mm_kptm import cli
from mm_kptm.data.formats.squad import read_squad
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.protocol import data_name
from mm_kptm.datasets.text.mlqa import MlqaData
from mm_kptm.datasets.text.tydiqa import TydiqaData
from mm_kptm.datasets.text.xquad import XquadData
from mm_kptm.errors import UserError
from mm_kptm.experiment import evaluate, train
from mm_kptm.experiment.predict import submit
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.train.settings import TrainSettings
from tests.tasks.text.test_question_answering import squad

SIZES = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "max_positions": 64}
NAMES = {"xquad": "xquad.{}.json", "mlqa": "test-context-{0}-question-{0}.json", "tydiqa": "tydiqa.goldp.{}.dev.json"}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "wer", "rot", "blau", "ist", "das"]) + "\n")
    squad(tmp_path / "train-v1.1.json", [("a", "wer ist rot", "das rot ist blau", "rot")])
    return tmp_path


@pytest.mark.parametrize("data", [XquadData, MlqaData, TydiqaData])
def test_files_of_several_languages_are_scored_and_submitted(home, data, capsys):
    name = data_name(data)
    for language in ("de", "en"):
        asked = [(f"{language}-{n}", "wer ist blau", "das rot ist blau", "blau") for n in range(2)]
        squad(home / NAMES[name].format(language), asked)
    settings = Experiment(
        name,
        EncoderSettings("bert-base", sizes=SIZES),
        data(
            name=name,
            vocabulary=home / "vocab.txt",
            train=home / "train-v1.1.json",
            test=home / NAMES[name].format("*"),
            max_length=24,
        ),
        "question-answering",
        train=TrainSettings(steps=2, batch_size=2),
        out=home,
    )
    train(settings, settings.folder, progress=False)
    result = evaluate(settings.folder)
    assert result["n"] == 4 and set(result["by_language"]) == {"de", "en"}
    assert 0 <= result["exact-match-de"] <= result["by_language"]["de"] <= 1
    files = submit(settings.folder)
    assert [file.relative_to(settings.folder / "submission").as_posix() for file in files] == [
        f"{name}/test-de.json",
        f"{name}/test-en.json",
    ]
    assert json.loads(files[0].read_text()).keys() == {"de-0", "de-1"}
    assert cli.main(["data", "validate", "question-answering", str(home / "train-v1.1.json"), "--format", name]) == 0


def test_languages_are_found_in_names_and_ids(home):
    for file, spoken in {
        "test-context-de-question-en.json": ("de", "en"),
        "xquad.el.json": ("el", "el"),
        "tydiqa.goldp.fi.train.json": ("fi", "fi"),
        "test-zh.json": ("zh", "zh"),
    }.items():
        (one,) = read_squad(squad(home / file, [("q", "wer", "das rot", "rot")]))
        assert (one.language, one.question_language) == spoken
    path = squad(home / "tydiqa-goldp-v1.1-dev.json", [("finnish-1-0", "wer", "das rot", "rot"), ("b", "a", "b", "b")])
    with pytest.raises(UserError, match=r"nothing names the language of question b; call the file xquad.de.json or"):
        read_squad(path)
    assert [one.language for one in read_squad(path, language="en")] == ["fi", "en"]


def test_files_that_break_the_form_are_named(home):
    path = squad(home / "xquad.de.json", [("q", "wer", "das rot", "rot"), ("q", "wer", "das rot", "rot")])
    with pytest.raises(UserError, match=r"the question q is there twice, first at"):
        read_squad(path)
    path = squad(home / "xquad.de.json", [("q", "wer", "das rot", "rot")])
    wrong = json.loads(path.read_text())
    wrong["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 99
    path.write_text(json.dumps(wrong))
    (one,) = read_squad(path)
    assert one.answers[0].start is None
    (home / "xquad.en.json").write_text('{"data": [{"title": "t", "paragraphs": []}]}')
    with pytest.raises(UserError, match=r"xquad.en.json holds no question; at least one was expected"):
        read_squad(home / "xquad.en.json")
    data = XquadData(name="xquad", vocabulary=home / "vocab.txt", train=home / "train-v1.1.json")
    with pytest.raises(UserError, match=r"^data.doc_stride is 0 but must be at least 1$"):
        replace(data, doc_stride=0)
