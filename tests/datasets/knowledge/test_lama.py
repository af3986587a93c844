"""LAMA's files are probed without training, with templates and candidates, and with facts that are told or swapped."""

import json
from pathlib import Path

import pytest
import torch

from mm_kptm import cli
from mm_kptm.data.formats.lama import read_lama, read_templates
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.knowledge.lama import NO_CANDIDATE, Blanked, LamaData, candidates
from mm_kptm.errors import UserError
from mm_kptm.experiment import evaluate, train
from mm_kptm.experiment.build import build
from mm_kptm.experiment.predict import predict
from mm_kptm.experiment.run import opened
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.train.settings import TrainSettings

PEOPLE, TOWNS = "anna boris clara david emma felix grace hugo".split(), "rome oslo lima bern".split()  # noqa: SIM905
WORDS = [*PEOPLE, *TOWNS, "was", "born", "in", "knows", "saint", "peters", "##burg", ".", ",", "works"]
BORN = [(name, TOWNS[n % 4]) for n, name in enumerate(PEOPLE)]
TEMPLATES = [
    {"relation": "P19", "template": "[X] was born in [Y] .", "label": "place of birth", "type": "N-1"},
    {"relation": "P937", "template": "[X] works in [Y] .", "label": "work location"},
]


def lines(path: Path, rows) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def fact(subject: str, object_: str, relation: str = "P19", **more: object) -> dict[str, object]:
    return {"sub_label": subject, "obj_label": object_, "predicate_id": relation, **more}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "[unused0]", *WORDS]) + "\n")
    lines(tmp_path / "relations.jsonl", TEMPLATES)
    said = [fact(*pair) for pair in (*BORN, BORN[0])]  # the first one twice: one sentence all the same
    lines(tmp_path / "facts" / "P19.jsonl", [*said, fact("anna", "saint peters##burg")])
    lines(tmp_path / "facts" / "P937.jsonl", [fact("anna", "bern", "P937")])
    (tmp_path / "graph.spo").write_text("".join(f"{name}\tplace of birth\t{town}\n" for name, town in BORN))
    (tmp_path / "common.txt").write_text("\n".join([*TOWNS, "petersburg", "moscow", "knows"]) + "\n")
    return tmp_path


def settings(home, facts="true", kind="sentence-tree", recipe="bert-base", steps=0, **more):
    given = {
        "test": home / "facts",
        "vocabulary": home / "vocab.txt",
        "templates": home / "relations.jsonl",
        "candidates": home / "common.txt",
        "graph": home / "graph.spo",
    }
    return Experiment(
        f"{kind}-{facts}",
        EncoderSettings(recipe, sizes={"num_layers": 2, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}),
        LamaData(name="lama", **{**given, **more}),
        "cloze",
        KnowledgeSettings(kind, facts),
        train=TrainSettings(steps=steps, batch_size=8, lr=5e-3),
        out=home / "runs",
    )


def test_a_probe_needs_no_training(home):
    experiment = settings(home, kind="none")
    train(experiment, experiment.folder, progress=False)
    measured = evaluate(experiment.folder)
    assert measured["n"] == 9 and measured["left_out"] == 1
    assert set(measured["by_type"]) == {"P19", "P937"}
    ranks = {row["id"]: row["rank"] for row in predict(experiment.folder)}
    born = [ranks[f"P19-{n + 1}"] for n in range(8)]
    assert measured["p@1"] == pytest.approx((sum(at == 1 for at in born) / 8 + (ranks["P937-1"] == 1)) / 2)
    assert measured["mrr"] == pytest.approx((sum(1 / at for at in born) / 8 + 1 / ranks["P937-1"]) / 2)
    assert measured["baselines"] == {"chance": 1 / 5, "usual-object": (2 + 1) / 9}
    fresh, kept = build(experiment).model.state_dict(), opened(experiment.folder)[1].model.state_dict()
    assert all(torch.equal(fresh[name], weight) for name, weight in kept.items())
    with pytest.raises(UserError, match=r"these data have no split 'train'; there are test"):
        train(settings(home, kind="none", steps=1), home / "runs" / "trained", progress=False)


def test_knowledge_use_is_scored_over_the_blanks_whose_facts_are_told(home):
    facts = lines(home / "train.jsonl", [fact(*pair) for pair in BORN])
    experiment = settings(home, steps=80, train=facts)
    train(experiment, experiment.folder, progress=False)
    assert evaluate(experiment.folder)["by_type"]["P19"] == 1.0
    swapped = evaluate(experiment.folder, "test-swapped")
    # no fact says where the one who works in bern does
    assert swapped["share_with_known_answer"] == pytest.approx(8 / 9)
    assert swapped["knowledge-use"] == pytest.approx(swapped["follows_context"] - swapped["memorised"])
    rows = predict(experiment.folder, split="test-swapped")
    told = build(experiment).source("test-swapped")
    born = {about.id: about for about in told.about}
    assert all(born[row["id"]].factual_answer != row["target"] for row in rows)
    true = {f"P19-{n + 1}": town for n, (_, town) in enumerate(BORN)}
    assert {id_: about.factual_answer for id_, about in born.items() if about.factual_answer} == true


def test_arms_ask_the_same_blanks(home):
    built = build(settings(home))
    ids = {split: [about.id for about in built.source(split).about] for split in built.prepared.sources}
    assert set(ids) == {"test", *(f"test-{facts}" for facts in ("true", "swapped", "random", "oracle", "none"))}
    assert len({tuple(names) for names in ids.values()}) == 1
    texts = {split: built.source(split).batch([0, 8], seeded(0)).inputs.text for split in ids}
    assert torch.equal(texts["test"].ids, texts["test-true"].ids)
    assert len(texts["test"].ids) == len(texts["test-swapped"].ids) == len(texts["test-random"].ids)
    # anna works in bern: where she was born is told, but not needed
    assert len(texts["test"].ids) - len(texts["test-oracle"].ids) == 4


def test_sentences_of_the_files_are_read_where_there_is_no_template(home):
    own = [
        {"sub_label": "anna", "obj_label": "rome", "masked_sentences": ["anna knows .", "born in [MASK]"]},
        {"sub_label": "boris", "obj_label": "oslo", "pred": "/people/person/place_of_birth",
         "judgments": [{"judgment": "yes"}], "masked_sentences": ["boris [MASK]"]},
        {"sub_label": "boris", "obj_label": "lima", "pred": "/people/person/place_of_birth",
         "judgments": [{"judgment": "no"}, {"judgment": "no"}, {"judgment": "yes"}], "masked_sentences": ["x [MASK]"]},
        fact("clara", "bern", evidences=[{"masked_sentence": "[MASK] knows clara"}, {"masked_sentence": "[MASK]"}]),
    ]  # fmt: skip
    found = read_lama(lines(home / "Squad.jsonl", own))
    assert [(one.text, one.relation) for one in found] == [
        ("anna knows . born in [MASK]", "Squad"),
        ("boris [MASK]", "place_of_birth"),
        ("[MASK] knows clara", "P19"),
    ]
    assert found[1].called == ("place_of_birth", "/people/person/place_of_birth")
    by_template = read_lama(home / "facts", read_templates(home / "relations.jsonl"))
    assert [one.text for one in by_template[:2]] == ["anna was born in [MASK] .", "boris was born in [MASK] ."]
    assert len(by_template) == 10
    assert by_template[0].called == ("P19", "place of birth")


def test_a_blank_is_one_piece_and_spans_stay_where_they_were(home):
    pieces = Blanked(WordPiece.open(home / "vocab.txt", lowercase=True)).encode("anna, [MASK] in petersburg [MASK]")
    text = "anna, [MASK] in petersburg [MASK]"
    assert [text[start:end] for start, end in pieces.spans] == [
        "anna", ",", "[MASK]", "in", "peters", "burg", "[MASK]"
    ]  # fmt: skip
    assert pieces.ids[2] == pieces.ids[6] == 4


def test_candidates_are_single_tokens(home):
    spelling = Blanked(WordPiece.open(home / "vocab.txt", lowercase=True))
    assert candidates(spelling, home / "common.txt").words == (*TOWNS, "knows")
    every = candidates(spelling, None).words
    assert "rome" in every and not {"##burg", "[MASK]", "[unused0]"} & set(every)
    (home / "few.txt").write_text("rome\npetersburg\n")
    with pytest.raises(UserError, match=r"1 of 2 candidates are one token of the vocabulary; a blank needs two"):
        candidates(spelling, home / "few.txt")
    lines(home / "hard.jsonl", [fact("anna", "petersburg")])
    with pytest.raises(UserError, match=r"every one of the 1 facts of .*hard.jsonl was left out"):
        build(settings(home, kind="none", test=home / "hard.jsonl")).source("test")
    assert build(settings(home, kind="none", test=home / "facts", max_length=8)).prepared.skipped("test").reasons == {
        NO_CANDIDATE: 1
    }


def test_every_file_of_a_folder_belongs_to_the_data(home):
    before = build(settings(home)).prepared.fingerprints
    assert {"test/P19.jsonl", "test/P937.jsonl", "graph", "templates", "candidates"} <= set(before)
    lines(home / "facts" / "P937.jsonl", [fact("anna", "oslo", "P937")])
    assert build(settings(home)).prepared.fingerprints["test/P937.jsonl"] != before["test/P937.jsonl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"obj_label": "rome"}', "line 1 has neither masked_sentences nor a template of its relation"),
        ('{"sub_label": "a", "obj_label": "rome"}', "line 1 has neither masked_sentences nor a template"),
        ('{"sub_label": "a", "obj_label": "b", "masked_sentences": ["a b"]}', "line 1 has no [MASK] in 'a b'"),
        ("{", "line 1, column 2: no valid JSON"),
        ("", "is empty; a file of one JSON object a line was expected"),
    ],
)
def test_facts_that_are_wrong_are_named_with_their_line(text, message, tmp_path, capsys):
    (tmp_path / "P1.jsonl").write_text(text)
    assert cli.main(["data", "validate", "cloze", str(tmp_path / "P1.jsonl"), "--format", "lama"]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_facts_and_templates_that_are_wrong_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no file whose name ends in .jsonl; LAMA has one for each relation"):
        read_lama(tmp_path)
    one_sided = lines(tmp_path / "relations.jsonl", [{"relation": "P1", "template": "[X] is it"}])
    with pytest.raises(UserError, match=r"line 1: the template '\[X\] is it' must have one \[X\] and one \[Y\]"):
        read_templates(one_sided)
    twice = lines(tmp_path / "twice.jsonl", [TEMPLATES[0], TEMPLATES[0]])
    with pytest.raises(UserError, match=r"line 2: the relation P19 is there twice"):
        read_templates(twice)
    judged = {"sub_label": "a", "obj_label": "b", "masked_sentences": ["[MASK]"], "judgments": [{"judgment": "no"}]}
    with pytest.raises(UserError, match=r"holds no fact that its judges accepted"):
        read_lama(lines(tmp_path / "no.jsonl", [judged]))
