"""K-BERT's tables train, answer and are scored end to end, with facts of a graph and without, whatever the encoder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm import cli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.text.uer_tsv import KbertData
from mm_kptm.errors import UserError
from mm_kptm.experiment import evaluate, train
from mm_kptm.experiment.build import build
from mm_kptm.experiment.predict import predict, submit
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.tasks.metrics.ranking import reciprocal_rank
from mm_kptm.tasks.text.sentence_classification import SentenceClassification
from mm_kptm.train.settings import TrainSettings

GOLDEN = Path(__file__).parents[2] / "golden/data/kbert/zh_en"
SIZES = {"num_layers": 1, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}
PLACES, BEASTS = ("北京", "东京"), ("小猫", "小狗")
CLASSES = [(str(n % 2), f"我在{name}") for n, name in enumerate((*PLACES, *BEASTS) * 3)]
NAMES = [(" ".join(f"我在{name}"), "O O B-L I-L") for name in PLACES * 3] + [
    (" ".join(f"我在{name}"), "O O B-A I-A") for name in BEASTS * 3
]
GRAPH = [("北京", "是", "城"), ("东京", "是", "都"), ("小猫", "是", "猫"), ("小狗", "是", "狗")]


def table(path: Path, header: str, rows) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in [header.split(), *rows]), encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path):
    letters = sorted({letter for _, text in CLASSES for letter in text} | {part for fact in GRAPH for part in fact[1:]})
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *letters]) + "\n", encoding="utf-8")
    (tmp_path / "graph.spo").write_text("".join("\t".join(fact) + "\n" for fact in GRAPH), encoding="utf-8")
    table(tmp_path / "classes.tsv", "label text_a", CLASSES)
    table(tmp_path / "pairs.tsv", "label text_a text_b", [(label, "我在", text) for label, text in CLASSES])
    table(tmp_path / "names.tsv", "text_a label", NAMES)
    return tmp_path


def settings(home, task, file, recipe="kbert-base", facts="true", steps=60, **more):
    data = KbertData(
        name="kbert-tsv",
        vocabulary=home / "vocab.txt",
        train=home / file,
        dev=home / file,
        test=home / more.pop("test", file),
        graph=home / "graph.spo",
        lowercase=False,
        **more,
    )
    return Experiment(
        f"{recipe}-{task}-{facts}",
        EncoderSettings(recipe, sizes=SIZES, init_std=0.1),
        data,
        task,
        KnowledgeSettings("sentence-tree", facts),
        train=TrainSettings(steps=steps, batch_size=12, lr=5e-3),
        out=home / "runs",
    )


@pytest.mark.parametrize("recipe", ["kbert-base", "bert-base"])
@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("sentence-classification", "classes.tsv"),
        ("sentence-classification", "pairs.tsv"),
        ("named-entities", "names.tsv"),
    ],
)
def test_each_table_trains_and_is_scored_from_files(home, recipe, task, file):
    experiment = settings(home, task, file, recipe)
    train(experiment, experiment.folder, progress=False)
    measured = evaluate(experiment.folder)
    assert measured["accuracy"] == 1.0
    f1 = {"sentence-classification": ["micro-f1"], "named-entities": ["entity-f1", "kbert-f1"]}[task]
    assert [measured[name] for name in f1] == [1.0] * len(f1)
    swapped = evaluate(experiment.folder, "test-swapped")
    assert swapped["drop"] == pytest.approx(measured["accuracy"] - swapped["accuracy"])
    assert 0 <= swapped["agreement"] <= 1
    lines = (experiment.folder / "predictions" / "test.jsonl").read_text().splitlines()
    assert len(lines) == 12 and json.loads(lines[0])["answer"]


def test_tags_are_written_as_the_table_that_was_asked(home):
    experiment = settings(home, "named-entities", "names.tsv")
    train(experiment, experiment.folder, progress=False)
    (path,) = submit(experiment.folder)
    assert path.read_text(encoding="utf-8") == (home / "names.tsv").read_text(encoding="utf-8")
    asked = table(home / "new.tsv", "text_a", [("我 在 东 京",)])
    (row,) = predict(experiment.folder, file=asked)
    assert row["answer"] == "O O B-L I-L" and "target" not in row


@pytest.mark.parametrize("facts", ["none", "true", "random", "swapped"])
def test_every_control_is_an_arm(home, facts):
    built = build(settings(home, "sentence-classification", "classes.tsv", facts=facts))
    text = built.source("train").batch(range(12), None).inputs.text
    assert (text.attention_mask is None) == (facts == "none")


def test_what_helps_is_told_by_facts_alone(home):
    """Texts that name nothing that was seen are told apart by what is said of the names, and swapped facts mislead."""
    kinds = ("城", "猫")
    graph = [(f"小{letter}", "是", kinds[n % 2]) for n, letter in enumerate("甲乙丙丁戊己庚辛子丑寅卯辰巳午未")]
    letters = sorted({letter for fact in graph for part in fact for letter in part} | set("我在"))
    (home / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *letters]) + "\n", encoding="utf-8")
    (home / "graph.spo").write_text("".join("\t".join(fact) + "\n" for fact in graph), encoding="utf-8")
    rows = [(str(kinds.index(kind)), f"我在{name}") for name, _, kind in graph]
    table(home / "seen.tsv", "label text_a", rows[:12])
    table(home / "unseen.tsv", "label text_a", rows[12:])
    experiment = settings(home, "sentence-classification", "seen.tsv", test="unseen.tsv", steps=150)
    deep = replace(experiment.encoder, sizes={**SIZES, "num_layers": 2})  # from the fact to its name to the sentence
    experiment = replace(experiment, encoder=deep)
    train(experiment, experiment.folder, progress=False)
    assert evaluate(experiment.folder)["accuracy"] == 1.0
    swapped = evaluate(experiment.folder, "test-swapped")
    assert (swapped["accuracy"], swapped["drop"], swapped["agreement"]) == (0.0, 1.0, 0.0)


def test_candidates_are_ranked_by_question():
    rows = [
        {"group": "a", "target": "0", "score": 0.9},
        {"group": "a", "target": "1", "score": 0.9},  # equal scores share the better rank
        {"group": "b", "target": "1", "score": 0.2},
        {"group": "b", "target": "1", "score": 0.4},  # the best right one counts
        {"group": "b", "target": "0", "score": 0.5},
        {"group": "c", "target": "0", "score": 0.5},  # nothing is right
    ]
    assert reciprocal_rank(rows, "1") == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_candidates_of_a_question_stand_in_one_group(home):
    table(
        home / "qa.tsv",
        "qid label text_a text_b",
        [(str(n // 4), str(int(n % 4 == 0)), "我", text) for n, (_, text) in enumerate(CLASSES)],
    )
    built = build(settings(home, "sentence-classification", "qa.tsv"))
    assert isinstance(built.model, SentenceClassification)
    rows = built.model.predictions(built.source("test"))
    assert [row["group"] for row in rows[3:5]] == ["question-0", "question-1"]
    assert 0 < built.model.summary(rows)["mrr"] <= 1
    assert sum(row["score"] > 0.5 for row in rows) == sum(row["answer"] == "1" for row in rows)


def test_classes_of_numbers_are_in_their_order(home):
    table(home / "many.tsv", "label text_a", [(label, "我") for label in ("10", "2", "0")])
    assert build(settings(home, "sentence-classification", "many.tsv")).model.labels == ("0", "2", "10")
    table(home / "one.tsv", "label text_a", [("1", "我")])
    with pytest.raises(UserError, match=r"the training examples have 1 classes; there must be two at least"):
        build(settings(home, "sentence-classification", "one.tsv"))
    table(home / "same.tsv", "text_a label", [("我", "O")])
    with pytest.raises(UserError, match=r"the training examples have 1 tags; there must be two at least"):
        build(settings(home, "named-entities", "same.tsv"))


WRONG = {
    "sentence-classification": [
        ("label\ttext_a\n1\tab\tcd\n", "line 2 has 3 cells between tabs, but the first line names 2: label, text_a"),
        ("label\ttext_a\n1\n", "line 2 has 1 cells between tabs, but the first line names 2"),
        ("label\ttext_a\n\tab\n", "line 2 has nothing under label; every cell of a line must be filled"),
        ("1\tab\n0\tcd\n", "line 1 must name the columns, text_a and perhaps label, text_b, qid, but it is"),
        ("label\ttext_a\n", "has a header and no line below it; at least one example was expected"),
        ("", "is empty; a table of cells between tabs was expected"),
    ],
    "named-entities": [
        ("text_a\tlabel\na b c\tO O\n", "line 2 has 3 words but 2 tags; every word has one"),
        ("a b\tO O\n", "line 1 must name the columns, text_a and perhaps label, labels, but it is"),
        ("text_a\tlabel\na b\n", "line 2 has 1 cells between tabs, but the first line names 2"),
        ("text_a\tlabel\n", "has a header and no line below it"),
    ],
}


@pytest.mark.parametrize(("task", "text", "message"), [(task, *case) for task in WRONG for case in WRONG[task]])
def test_a_table_that_is_wrong_is_named_with_its_line(task, text, message, tmp_path, capsys):
    path = tmp_path / "wrong.tsv"
    path.write_text(text)
    assert cli.main(["data", "validate", task, str(path), "--format", "kbert-tsv"]) == 2
    error = capsys.readouterr().err
    assert f"{path}" in error and message in error and "Traceback" not in error


def test_tables_that_are_right_are_counted(home, capsys):
    for task, file in (("sentence-classification", "pairs.tsv"), ("named-entities", "names.tsv")):
        assert cli.main(["data", "validate", task, str(home / file), "--format", "kbert-tsv", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["examples"] == 12


def test_a_class_that_training_never_had_is_missed(home):
    table(home / "new.tsv", "label text_a", [("7", "我在北京")])
    built = build(settings(home, "sentence-classification", "classes.tsv", test="new.tsv"))
    (row,) = built.model.predictions(built.source("test"))
    assert (row["target"], row["correct"]) == ("7", 0.0)


def ordered(told: dict[str, list[str]], joined: bool) -> str:
    """The golden's triples, those of a name in the order in which the released code happened to use them."""
    facts = [line.split("\t") for line in (GOLDEN / "toy.spo").read_text(encoding="utf-8").splitlines()]
    wording = {(head, relation + tail if joined else tail): (head, relation, tail) for head, relation, tail in facts}
    return "".join("\t".join(wording[head, said]) + "\n" for head, known in told.items() for said in known)


@pytest.mark.parametrize("task", ["sentence-classification", "named-entities"])
def test_tables_become_what_the_released_scripts_make_of_them(task, tmp_path):
    """Ids, soft positions, segments and labels of the official readers, facts in the same order."""
    lookup = json.loads((GOLDEN / "lookup.json").read_text(encoding="utf-8"))
    joined = task == "sentence-classification"
    facts = ordered(lookup["predicate" if joined else "no_predicate"], joined)
    (tmp_path / "graph.spo").write_text(facts, encoding="utf-8")
    if joined:
        expected = json.loads((GOLDEN / "classification.json").read_text(encoding="utf-8"))
        texts = ["小猫住在上海", "机器人喜欢小猫和鱼", "A robot 去 Mars 写诗", "上海", "长江 flows 上海"]
        rows = [(str(one["label"]), text) for one, text in zip(expected, texts, strict=True)]
        del rows[2], expected[2]  # longer than the script's 28 tokens
        path = table(tmp_path / "train.tsv", "label text_a", rows)
    else:
        golden = json.loads((GOLDEN / "ner.json").read_text(encoding="utf-8"))
        expected, rows = golden["data"], [(one["text"], one["labels"]) for one in golden["raw"]]
        path = table(tmp_path / "train.tsv", "text_a label", rows)
    data = KbertData(name="kbert-tsv", vocabulary=GOLDEN / "vocab.txt", train=path, graph=tmp_path / "graph.spo")
    encoder = EncoderSettings("kbert-base", sizes={**SIZES, "vocab_size": 154})
    built = build(Experiment("x", encoder, data, task, KnowledgeSettings("sentence-tree")))
    batch = built.source("train").batch(range(len(expected)), None)
    text = batch.inputs.text
    columns = zip(*(text.layout.split(column) for column in (text.ids, text.positions, text.segments)), strict=True)
    for (ids, positions, segments), one in zip(columns, expected, strict=True):
        assert ids.tolist() == [number for number in one["token_ids"] if number]
        assert positions.tolist() == one["positions"][: len(ids)]
        assert segments.tolist() == one["mask"][: len(ids)]
    if not joined:
        labels = [label for one in expected for label in one["labels"] if label]
        assert batch.truth.tolist() == labels
        assert built.model.tags == tuple(golden["label_map"])
