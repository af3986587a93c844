"""The way of `docs/own-data.md` and `docs/knowledge.md` on files that a newcomer has: a graph, some texts, a name.

Texts say nothing of the answer but by a name, and no name of the test was in training: without a graph there is nothing
to go by.
"""

import json
import random
import unicodedata

import pytest

from mm_kptm import cli, config, experiment
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.coverage import measured_coverage
from mm_kptm.experiment.predict import predict
from mm_kptm.experiment.settings import Experiment

LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"
KINDS = ("fruit", "metal", "river", "tool")
SYLLABLES = ("Ba", "Ko", "Mi", "Zu", "Ré", "Lä", "To", "Ve", "Shi", "Na", "Pe", "Gu")


def names() -> list[str]:
    draw = random.Random(0)
    found: dict[str, None] = {}
    while len(found) < 160:
        found["".join(draw.choices(SYLLABLES, k=2)) + draw.choice(("ra", "lo", "né", "tik"))] = None
    return list(found)


NAMES = names()
KIND = {name: random.Random(name).choice(KINDS) for name in NAMES}


def tsv() -> str:
    return "".join(f"{name}\tis\t{KIND[name]}\n{name}\thas\tweight\n" for name in NAMES)


def ntriples() -> str:
    rows = [f'<http://e/kind/{number}> {LABEL} "{kind}"@EN .' for number, kind in enumerate(KINDS)]
    for number, name in enumerate(NAMES):
        rows += [
            f"<http://e/{number}> <http://e/relation#is> <http://e/kind/{KINDS.index(KIND[name])}> .",
            f'<http://e/{number}> {LABEL} "{name}"@EN .',
        ]
    return "\ufeff" + "\r\n".join(rows) + "\r\n"


def texts(chosen, respelled=str) -> str:
    said = ("we saw {} today", "here is {}", "{} was new to us", "have you seen {} ?")
    draw = random.Random(1)
    rows = ({"text": draw.choice(said).format(respelled(name)), "label": KIND[name]} for name in chosen)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


CASES = {
    "own triples": ("graph.tsv", str),
    "own n-triples": ("graph.nt", str),
    "own lower-cased texts": ("graph.tsv", str.lower),
    "own decomposed texts": ("graph.nt", lambda name: unicodedata.normalize("NFD", name)),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["we", "saw", "today", "here", "is", "was", "new", "to", "us", "have", "you", "seen", "has", "weight", "?"]
    vocabulary = [*BERT_SPECIALS, *words, *KINDS, *letters, *(f"##{letter}" for letter in letters)]
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n")
    (tmp_path / "graph.tsv").write_text(tsv())
    (tmp_path / "graph.nt").write_text(ntriples())
    return tmp_path


def write(home, graph, respelled=str, **changed):
    (home / "train.jsonl").write_text(texts(NAMES[:120] * 2))
    (home / "test.jsonl").write_text(texts(NAMES[120:], respelled))
    settings = {
        "name": "mine",
        "task": "sentence-classification",
        "data": {
            "name": "custom-text",
            "train": "train.jsonl",
            "test": "test.jsonl",
            "vocabulary": "vocab.txt",
            "graph": graph,
        },
        "knowledge": {"kind": "sentence-tree"},
        "encoder": {
            "recipe": "bert-base",
            "sizes": {"num_layers": 2, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0},
            "init_std": 0.1,
        },
        "train": {"steps": 120, "batch_size": 32, "lr": 0.003},
    }
    for key, value in changed.items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    (home / "mine.yaml").write_text(json.dumps(settings))


def read(home, *overrides: str) -> Experiment:
    return config.read(Experiment, home / "mine.yaml", overrides)


def measured(home, *overrides: str):
    settings = read(home, *overrides)
    experiment.train(settings, settings.folder)
    return experiment.evaluate(settings.folder)


@pytest.mark.parametrize("case", CASES)
def test_a_graph_of_ones_own_answers_what_the_text_cannot(home, capsys, case):
    graph, respelled = CASES[case]
    write(home, graph, respelled)
    without = measured(home, "--knowledge.kind=none", "--name=without")
    assert without["accuracy"] < 0.4 and capsys.readouterr().err.count("coverage") == 0
    found = measured(home)
    assert found["accuracy"] > 0.9
    printed = capsys.readouterr().err
    assert "mine: coverage of train: 240 of 240 texts (100%) name something with facts" in printed
    assert "mine: coverage of test: 40 of 40 texts (100%) name something with facts" in printed
    assert "mine: 160 of 160 names of the graph are found" in printed
    asked = ({"text": f"here is {respelled(NAMES[-1])}"}, {"text": "we saw"})
    (home / "asked.jsonl").write_text("\n".join(map(json.dumps, asked)))
    predict(home / "runs/mine", file=home / "asked.jsonl")
    assert "mine: coverage of asked.jsonl: 1 of 2 texts (50%) name something" in capsys.readouterr().err
    kept = json.loads((home / "runs/mine/coverage.json").read_text())
    assert kept["test"]["with_facts"] == kept["test"]["texts"] == 40 and kept["names"]["found"] == 160
    # every name has the same relations, so that these alone give nothing away
    assert found["baselines"]["relations-alone"] == found["baselines"]["majority"] < 0.4


def test_names_that_no_text_has_are_refused_before_anything_is_trained(home):
    (home / "other.tsv").write_text("Vesuvius\tis\tvolcano\nEtna\tis\tvolcano\n")
    write(home, "other.tsv")
    sentence = (
        r"knowledge.facts is true, but none of the 240 texts of train has a fact at a name of .*other.tsv: names are "
        r"such as Vesuvius, Etna, texts such as '\[CLS\] .*'; give a graph of what the texts are about"
    )
    with pytest.raises(UserError, match=sentence):
        measured(home)
    assert not (home / "runs").exists()
    write(home, "graph.tsv", lambda name: "nobody")
    with pytest.raises(UserError, match="none of the 40 texts of test has a fact at a name of"):
        measured(home)
    write(home, "graph.tsv", data={"max_length": 8})
    with pytest.raises(UserError, match=r"has room for a fact beside its names; raise data.max_length"):
        measured(home)


def test_a_graph_whose_labels_are_all_of_objects_is_refused(home):
    (home / "g.nt").write_text(f'<http://e/a> <http://e/r> <http://e/b> .\n<http://e/b> {LABEL} "fruit" .\n')
    write(home, "g.nt")
    with pytest.raises(
        UserError, match="the graph has labels or aliases, but none of an entity that is head of a triple"
    ):
        measured(home)


def test_case_counts_where_the_tokenizer_tells_it(home):
    write(home, "graph.tsv", str.lower, data={"lowercase": False})
    with pytest.raises(
        UserError, match=r"none of the 40 texts of test has a fact .* case counts where the tokenizer tells"
    ):
        measured(home)


def test_data_show_prints_what_the_model_will_read(home, capsys):
    write(home, "graph.nt")
    assert cli.main(["data", "show", "mine.yaml", "--n", "2", "--split", "test"]) == 0
    out = capsys.readouterr().out
    for name in NAMES[120:122]:
        assert f"{{is {KIND[name]}}}" in out and f"answer: {KIND[name]}" in out
    assert "2 of 40 examples of test\n40 of 40 texts (100%) name something with facts; 1.00 facts and 2.0 tokens" in out
    assert cli.main(["data", "show", "mine.yaml", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["facts"] for one in shown["examples"]] == [[f"is {KIND[name]}"] for name in NAMES[:5]]
    assert shown["names"]["names"] == 160 and shown["coverage"]["with_facts"] == 240
    for arguments, sentence in (
        (["mine.yaml", "--n", "0"], "0 examples were to be shown; show one at least"),
        (["mine.yaml", "--split", "dev"], "these data have no split 'dev'; there are train, test"),
    ):
        assert cli.main(["data", "show", *arguments]) == 2
        assert sentence in capsys.readouterr().err


def test_the_report_knows_what_the_relations_alone_give_away(home):
    """Where each kind has a relation of its own, the baseline says so."""
    (home / "leak.tsv").write_text("".join(f"{name}\tis {KIND[name]}\tx{n % 7}\n" for n, name in enumerate(NAMES)))
    write(home, "leak.tsv", train={"steps": 2})
    found = measured(home)
    assert found["baselines"]["relations-alone"] == 1.0 > found["baselines"]["majority"]
    assert json.loads((home / "runs/mine/baselines.json").read_text())["test"]["relations-alone"] == 1.0


def test_the_relations_alone_may_give_away_tags_too(home):
    """Persons and places have relations of their own, so that the tags follow from these whatever the facts say."""
    (home / "graph.tsv").write_text(
        "".join(f"{name}\t{'lives' if n % 2 else 'lies'}\tx{n % 7}\n" for n, name in enumerate(NAMES))
    )
    tag = {name: "B-PER" if n % 2 else "B-LOC" for n, name in enumerate(NAMES)}
    for file, chosen in (("train.jsonl", NAMES[:120]), ("test.jsonl", NAMES[120:])):
        rows = ({"words": ["we", "saw", name], "tags": ["O", "O", tag[name]]} for name in chosen)
        (home / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "name": "tags",
        "task": "named-entities",
        "data": {"name": "custom-text", "train": "train.jsonl", "test": "test.jsonl", "vocabulary": "vocab.txt"},
        "encoder": {"recipe": "bert-base", "sizes": {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 16}},
    }
    for knowledge, names in (({}, {"no-names"}), ({"kind": "sentence-tree"}, {"no-names", "relations-alone"})):
        settings |= {"knowledge": knowledge, "data": settings["data"] | {"graph": "graph.tsv"}}
        (home / "tags.yaml").write_text(json.dumps(settings))
        found = build(config.read(Experiment, home / "tags.yaml")).prepared.baselines("test")
        assert found.keys() == names and found["no-names"] == pytest.approx(2 / 3)
    assert found["relations-alone"] == 1.0


@pytest.mark.parametrize("kind", ["sentence-tree", "entity-fusion", "kar"])
def test_coverage_is_of_every_form_in_which_examples_carry_facts(tmp_path, kind):
    path = tmp_path / "vqa.yaml"
    path.write_text(
        f"name: vqa\ntask: knowledge-vqa\ndata: {{name: number-world, questions: 40, eval_questions: 20}}\n"
        "encoder: {recipe: uniter-base, sizes: {num_layers: 2, dim: 16, num_heads: 2, ffn_dim: 32}}\n"
        f"knowledge: {{kind: {kind}}}\n"
    )
    settings = config.read(Experiment, path)
    found = measured_coverage(settings, build(settings))
    assert found.keys() == {"train", "dev"}
    assert found["train"].with_facts == found["train"].texts == 40 and found["train"].facts >= 40
    assert (found["train"].fact_tokens > 0) == (kind == "sentence-tree")
    assert ("linked tokens or mentions a text" in found["dev"].sentence()) == (kind != "sentence-tree")
    none = config.read(Experiment, path, ["--knowledge.facts=none"])
    assert measured_coverage(none, build(none)) == {}
