"""Every task of XTREME runs from its files to a submission that passes its check; a fault in any file is named."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from mm_kptm import cli, config
from mm_kptm.data.formats.uer_tsv import Tagged
from mm_kptm.data.formats.xtreme import (
    language_of,
    read_gold_pairs,
    read_numbered,
    read_pan_x,
    read_parts_of_speech,
    read_paws_x,
)
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.text.word_files import answers_of, parts_of
from mm_kptm.datasets.text.xtreme_folder import expected_submission, faults
from mm_kptm.errors import UserError
from mm_kptm.experiment import evaluate, train
from mm_kptm.experiment.predict import submit
from mm_kptm.experiment.settings import Experiment

WORDS = [f"w{number}" for number in range(20)]
SIZES = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "max_positions": 64}
LANGUAGES = ("de", "sw")


def write(path: Path, lines) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def squad(path: Path, language: str) -> None:
    asked = [
        {"id": f"{language}-{n}", "question": "w1", "answers": [{"text": "w3", "answer_start": 6}]} for n in (0, 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "w1 w2 w3", "qas": asked}]}]}))


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> Path:
    """XTREME's folder, small: training in English, tests in two languages."""
    home = tmp_path_factory.mktemp("xtreme")
    write(home / "vocab.txt", [*BERT_SPECIALS, *WORDS])
    labels = {"xnli": ["entailment", "neutral", "contradiction"], "pawsx": ["0", "1", "0"]}
    for task, given in labels.items():
        for split, language in (("train", "en"), *(("test", one) for one in LANGUAGES)):
            write(home / task / f"{split}-{language}.tsv", [f"w{n} w1\tw{n} w2\t{one}" for n, one in enumerate(given)])
    for task, tags in {"udpos": ["NOUN", "VERB", "SYM"], "panx": ["B-PER", "I-PER", "O"]}.items():
        sentence = [f"w{n}\t{tag}" for n, tag in enumerate(tags)]
        for split, language in (("train", "en"), *(("test", one) for one in LANGUAGES)):
            write(home / task / f"{split}-{language}.tsv", [*sentence, "", *sentence * 12, ""])
    squad(home / "squad/train-v1.1.json", "en")
    for language in LANGUAGES:
        squad(home / f"xquad/xquad.{language}.json", language)
        squad(
            home / f"mlqa/MLQA_V1/test/test-context-{'vi' if language == 'sw' else language}-question-de.json", language
        )
        squad(home / f"tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.{language}.dev.json", language)
        for split in ("dev", "test"):
            prefix = f"bucc2018/{language}-en.{split}"
            write(home / f"{prefix}.{language}", [f"{language}-{n}\tw{n} w{n + 1}" for n in range(8)])
            write(home / f"{prefix}.en", [f"en-{n}\tw{n} w{n + 1} w3" for n in range(2, 10)])
        write(home / f"bucc2018/{language}-en.dev.gold", [f"{language}-{n}\ten-{n}" for n in range(2, 8)])
        for end in (language, "en"):
            write(home / f"tatoeba/{language}-en.{end}", [f"w{n} w{2 * n}" for n in range(6)])
    for language in ("de", "vi"):
        squad(home / f"mlqa/MLQA_V1/test/test-context-{language}-question-{language}.json", language)
    squad(home / "mlqa/MLQA_V1/test/test-context-de-question-vi.json", "cross")
    return home


def settings(home: Path, name: str, task: str, **data) -> Experiment:
    files = {key: str(home / value) for key, value in data.items() if isinstance(value, str) and "/" in value}
    maps = {
        key: {one: str(home / at) for one, at in value.items()}
        for key, value in data.items()
        if isinstance(value, dict)
    }
    rest = {key: value for key, value in data.items() if key not in files and key not in maps}
    shown = {"name": name, "vocabulary": str(home / "vocab.txt"), "max_length": 24, **rest, **files, **maps}
    steps = 1 if "train" in data else 0
    text = {
        "name": f"run-{name}",
        "task": task,
        "encoder": {"recipe": "mbert-base", "sizes": SIZES},
        "data": shown,
        "train": {"steps": steps, "batch_size": 4},
        "out": str(home / "runs"),
    }
    return config.read(Experiment, write(home / f"{name}.yaml", [json.dumps(text)]))


def runs(home: Path) -> list[Experiment]:
    pairs, moses = "bucc2018/{}-en.{}", "tatoeba/{}-en"
    return [
        settings(home, "xnli", "entailment", train="xnli/train-en.tsv", test="xnli/test-*.tsv"),
        settings(home, "paws-x", "sentence-classification", train="pawsx/train-en.tsv", test="pawsx/test-*.tsv"),
        settings(home, "ud-pos", "parts-of-speech", train="udpos/train-en.tsv", test="udpos/test-*.tsv"),
        settings(home, "pan-x", "named-entities", train="panx/train-en.tsv", test="panx/test-*.tsv"),
        settings(home, "xquad", "question-answering", train="squad/train-v1.1.json", test="xquad/xquad.*.json"),
        settings(
            home,
            "mlqa",
            "question-answering",
            train="squad/train-v1.1.json",
            test="mlqa/MLQA_V1/test/test-context-*.json",
        ),
        settings(
            home,
            "tydiqa",
            "question-answering",
            train="squad/train-v1.1.json",
            test="tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.*.dev.json",
        ),
        settings(
            home,
            "bucc",
            "bitext-mining",
            dev={one: pairs.format(one, "dev") for one in LANGUAGES},
            test={one: pairs.format(one, "test") for one in LANGUAGES},
        ),
        settings(home, "tatoeba", "parallel-sentences", test={one: moses.format(one) for one in LANGUAGES}),
    ]


@pytest.fixture(scope="module")
def submission(download) -> Path:
    """The answers of untrained encoders to all nine tasks, in one folder."""
    for one in runs(download):
        train(one, one.folder, progress=False)
        submit(one.folder, folder=download / "submission")
    return download / "submission"


def test_all_nine_tasks_are_submitted_and_pass(download, submission, capsys):
    files = sorted(path.relative_to(submission).as_posix() for path in submission.rglob("test-*"))
    assert len(files) == 18 and "mlqa/test-vi.json" in files and "bucc2018/test-sw.tsv" in files
    assert cli.main(["data", "submission", str(submission), "--data", str(download), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["faults"] == [] and len(told["checked"]) == 9


def faults_of(path: Path) -> dict[str, tuple[str | bytes, str]]:
    """What may be wrong with a file of a submission, and the place that must be named."""
    text = path.read_text()
    lines, ends = text.splitlines(), f", line {len(text.splitlines())}"
    found: dict[str, tuple[str | bytes, str]] = {
        "empty": ("", " is empty"),
        "latin-1": (f"{text}é\n".encode("latin-1"), f", line {len(lines) + 1} is not UTF-8"),
        "utf-16": (text.encode("utf-16"), ", line 1 is not UTF-8"),
        "byte order mark": (text.encode("utf-8-sig"), ", line 1 begins with a byte order mark"),
        "packed": (gzip.compress(text.encode()), " is packed by gzip"),
    }
    if path.suffix == ".json":
        answers = json.loads(text)
        first, last = next(iter(answers)), list(answers)[-1]
        entries = [json.dumps({id_: answer})[1:-1] for id_, answer in answers.items()]

        def written(*listed: str) -> str:
            return "{\n" + ",\n".join(listed) + "\n}\n"

        return found | {
            "missing": (written(*entries[:-1]), f" ends at line {len(entries) + 1} and has no answer to"),
            "wrong id": (written(*entries, '"x-1": ""'), f", line {len(entries) + 2} answers x-1, which is not asked"),
            "duplicate": (
                written(*entries, entries[0]),
                f", line {len(entries) + 2}: the key '{first}' is there twice",
            ),
            "not a text": (
                written(*entries[:-1], f'"{last}": NaN'),
                f", line {len(entries) + 1}: the answer to {last}",
            ),
            "a list": (json.dumps(list(answers)), ", line 1 must begin one object"),
            "cut": (text[: len(text) // 2], ": no valid JSON"),
        }
    wrong = {
        "wrong label": ("\n".join([*lines[:-1], "maybe"]) + "\n", ends),
        "not a number": ("\n".join([*lines[:-1], "nan"]) + "\n", ends),
        "a second column": ("\n".join([*lines[:-1], f"{lines[-1]}\tde"]) + "\n", ends),
    }
    if path.parent.name == "bucc2018":
        return (found | wrong) | {
            "duplicate": (f"{text}{lines[0]}\n", f", line {len(lines) + 1} repeats the pair of line 1"),
            "wrong language": ("\n".join(["en-1\tde-1", *lines[1:]]) + "\n", ", line 1 names sentence en-1"),
        }
    missing = "sentence 2 has" if path.parent.name in ("udpos", "panx") else "is missing: the file has"
    return (found | wrong) | {
        "missing": ("\n".join(lines[:-1]) + "\n", missing),
        "extra": (
            f"{text}{lines[-1]}\n",
            "sentence 2 has" if missing[0] == "s" else f", line {len(lines) + 1} is one too",
        ),
        "duplicate": (f"{text}\n{text}", ", line "),
        "blank line": ("\n".join([*lines[:1], "", *lines[1:]]) + "\n", ", line "),
    }


def test_a_fault_in_each_file_is_named(download, submission, tmp_path):
    expected = expected_submission(download)
    planted = tmp_path / "planted"
    shutil.copytree(submission, planted)
    for path in sorted(planted.rglob("test-*")):
        kept = path.read_bytes()
        for fault, (content, said) in faults_of(path).items():
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            told = faults(planted, expected)
            assert len(told) == 1 and told[0].startswith(str(path)) and said in told[0], (fault, told)
        path.write_bytes(kept)
    assert faults(planted, expected) == []


def test_files_of_other_languages_and_tasks_are_named(download, submission, tmp_path, capsys):
    planted = tmp_path / "planted"
    shutil.copytree(submission, planted)
    (planted / "xnli" / "test-de.tsv").rename(planted / "xnli" / "test-fr.tsv")
    (planted / "xnil").mkdir()
    (planted / ".notes").write_text("hidden files are nobody's")
    assert cli.main(["data", "submission", str(planted), "--data", str(download)]) == 2
    told = capsys.readouterr().err
    assert "xnli/test-de.tsv was to be read, but there is no such file" in told
    assert "xnli/test-fr.tsv is of no language of the task; the data have de, sw" in told
    assert "xnil is of no task of XTREME; they are xnli, pawsx, " in told and ".notes" not in told
    assert cli.main(["data", "submission", str(planted), "--data", str(tmp_path)]) == 2
    assert "holds no test file of XTREME, such as xnli/test-*.tsv; name the folder of" in capsys.readouterr().err


def test_scores_are_those_of_whole_sentences_and_of_each_language(download, submission):
    result = evaluate(download / "runs" / "run-ud-pos")
    assert {"chunk-f1", "tag-accuracy"} <= result.keys() and set(result["by_language"]) == set(LANGUAGES)
    assert result["n"] == 6  # two sentences a language, one of them in two parts
    assert "seqeval-f1" in evaluate(download / "runs" / "run-pan-x")
    mined = evaluate(download / "runs" / "run-bucc", split="dev")
    assert mined["f1"] == pytest.approx((mined["f1-de"] + mined["f1-sw"]) / 2) and mined["f1"] > 0
    assert evaluate(download / "runs" / "run-tatoeba")["accuracy"] == 1.0  # each sentence is its own translation


def test_long_sentences_are_cut_between_words_and_joined_again(tmp_path):
    tokenizer = WordPiece.open(write(tmp_path / "vocab.txt", [*BERT_SPECIALS, *WORDS]), lowercase=True)
    one = Tagged("x-1", tuple(WORDS[:5]), tuple("ABCDE"), "de")
    parts = parts_of(one, tokenizer, 2)
    assert [part.words for part in parts] == [("w0", "w1"), ("w2", "w3"), ("w4",)]
    rows = [{"id": part.id, "answer": " ".join(part.tags)} for part in parts]
    assert answers_of([*rows, {"id": "x-2", "answer": "F"}]) == [list("ABCDE"), ["F"]]
    assert parts_of(one, tokenizer, 5) == [one]


def test_published_quirks_are_read(tmp_path):
    assert language_of(Path("udpos/test-zh.tsv")) == "zh" and language_of(Path("ko/test_2k.tsv")) == "ko"
    with pytest.raises(UserError, match=r"^words.txt names no language; call it test-de.tsv, say, or let it lie in a"):
        language_of(Path("words.txt"))
    quoted = write(tmp_path / "test-de.tsv", ['"a ""b"" c"\t"d" or "e"', "f\tg\t1"])
    one, other = read_paws_x(quoted)
    assert (one.premise, one.hypothesis, one.label, other.label) == ('a "b" c', '"d" or "e"', None, "1")
    own = write(tmp_path / "ko" / "test_2k.tsv", ["id\tsentence1\tsentence2\tlabel", "1\ta\tb\t0"])
    assert read_paws_x(own)[0].language == "ko"
    (names,) = read_pan_x(write(tmp_path / "de" / "test", ["de:Rom\tB-LOC", "de:a:b\tO"]))
    assert names.words == ("Rom", "a:b") and names.language == "de"
    (tags,) = read_parts_of_speech(write(tmp_path / "dev-tr.tsv", ["w1\tNOUN", "w2\t"]))
    assert tags.tags == ("NOUN", "X")
    (blind,) = read_parts_of_speech(write(tmp_path / "test-tr.tsv", ["w1", "w2"]))
    assert blind.tags is None
    for lines, sentence in (
        (["w1\tNAME"], "line 1: the tag must be one of B-LOC, "),
        (["w1\tO", "w2"], "line 2 has no tag, but other words of its sentence have one"),
        (["\tO"], "line 1 has no word before its tag"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_pan_x(write(tmp_path / "test-de.tsv", lines))
    with pytest.raises(UserError, match=r"line 1 must hold an id, a tab and a sentence$"):
        read_numbered(write(tmp_path / "a.de", ["de-1"]))
    with pytest.raises(UserError, match=r"the sentence de-1 is there twice"):
        read_numbered(write(tmp_path / "a.de", ["de-1\ta", "de-1\tb"]))
    with pytest.raises(UserError, match=r"has 1 cells between tabs; two ids were expected$"):
        read_gold_pairs(write(tmp_path / "a.gold", ["de-1"]))
