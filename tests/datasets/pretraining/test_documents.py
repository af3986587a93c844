"""Documents feed every objective on text, all at once or one after the other."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm import config
from mm_kptm.data.formats.documents import DocumentSentence
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Specials
from mm_kptm.datasets.pretraining.document_sources import Distances, NextSentences, segments
from mm_kptm.datasets.pretraining.documents import Documents
from mm_kptm.datasets.pretraining.knowledge_beside import KnowledgeFiles
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.preprocessing.tokenized_documents import TokenizedDocuments
from mm_kptm.tasks.pretraining import OneAStep
from mm_kptm.train.protocol import lengths_of
from mm_kptm.train.settings import TrainSettings

SPECIALS = Specials(0, 1, 2, 3, 4)
VOCABULARY = "rome paris oslo is a city and big ##ger than . we saw it then he she left"
WORDS = VOCABULARY.split()
TEXT = """Rome is a city .
It is bigger than Oslo .
We saw it .

Then he left Paris .
And she saw Oslo .
She left .

Oslo is big .
Paris is bigger .
"""
SIZES = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 32, "max_positions": 40, "dropout": 0.0}
ERNIE2 = (
    "masked-tokens",
    "capitalization",
    "document-words",
    "sentence-reordering",
    "sentence-distance",
    "discourse-relation",
    "ir-relevance",
)


def sentence(*ids: int) -> DocumentSentence:
    return DocumentSentence(ids, tuple(range(len(ids))), (False,) * len(ids))


@pytest.fixture
def data(tmp_path: Path) -> Documents:
    """Documents and everything beside them, in files."""
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    (tmp_path / "train.txt").write_text(TEXT)
    (tmp_path / "phrases.txt").write_text("a city\n")
    (tmp_path / "similar.tsv").write_text("rome\tparis\toslo\nsaw\tleft\n")
    (tmp_path / "discourse.tsv").write_text(
        "he left\tshe saw it\tbut\nhe left\tshe left\tand\nwe saw\tit is big\tthen\n"
    )
    (tmp_path / "relevance.tsv").write_text("rome\tRome is a city\tstrong\nrome\tOslo is big\tnone\n")
    (tmp_path / "held.tsv").write_text("we left\the saw it\tbut\n")
    return Documents(
        name="documents",
        train=tmp_path / "train.txt",
        dev=tmp_path / "train.txt",
        vocabulary=tmp_path / "vocab.txt",
        max_length=16,
        phrases=tmp_path / "phrases.txt",
        similar=tmp_path / "similar.tsv",
        pairs={"discourse-relation": tmp_path / "discourse.tsv", "ir-relevance": tmp_path / "relevance.tsv"},
        dev_pairs={"discourse-relation": tmp_path / "held.tsv"},
    )


def experiment(data: Documents, objectives: tuple[str, ...], recipe: str = "ernie2", **more: object) -> Experiment:
    encoder = EncoderSettings(recipe, sizes=SIZES, init_std=0.1)
    return Experiment("documents", encoder, data, objectives=dict.fromkeys(objectives, 1.0), **more)


def test_segments_know_their_sentences_and_the_words_of_their_document() -> None:
    """Of a document of two segments, and of one of a single segment, whose words no other segment could have."""
    documents = [[sentence(5, 6), sentence(7), sentence(6, 9, 9)], [sentence(8)]]
    source = segments(TokenizedDocuments.of(documents), SPECIALS, 6, 1, document_words=True)
    text = source.batch(range(len(source)), seeded(0)).text
    assert [ids.tolist() for ids in text.layout.split(text.ids)] == [[2, 5, 6, 7, 3], [2, 6, 9, 9, 3], [2, 8, 3]]
    assert text.token_labels["sentence"].tolist() == [-1, 0, 0, 1, -1, -1, 0, 0, 0, -1, -1, 0, -1]
    assert text.token_labels["document-words"].tolist() == [-1, 0, 1, 0, -1, -1, 1, 0, 0, -1, -1, -1, -1]
    assert text.mask_groups.tolist() == [-1, 0, 1, 2, -1, -1, 5, 6, 7, -1, -1, 10, -1]


def test_pairs_of_segments_are_halves_of_a_text() -> None:
    source = segments(TokenizedDocuments.of([[sentence(5, 6), sentence(7)], [sentence(8)]]), SPECIALS, 20, 2)
    text = source.batch([0], seeded(0)).text
    assert len(source) == 1
    assert (text.ids.tolist(), text.segments.tolist()) == ([2, 5, 6, 3, 7, 3], [0, 0, 0, 0, 1, 1])
    assert text.token_labels["sentence"].tolist() == [-1, 0, 0, -1, 1, -1]
    with pytest.raises(UserError, match=r"^pairs of segments were asked for, but no document has two neighbouring"):
        segments(TokenizedDocuments.of([[sentence(8)]]), SPECIALS, 20, 2)


def test_the_next_segment_is_that_of_the_document_or_of_another_one() -> None:
    """Sentence n of document d is the one token 10 d + n."""
    documents = [[sentence(10 * d + n) for n in range(4)] for d in (1, 2, 3)]
    source = NextSentences.of(TokenizedDocuments.of(documents), SPECIALS, 20)
    assert len(source) == 3 and source.length(0) == 7
    shares = []
    for seed in range(200):
        text = source.batch([0, 1, 2], seeded(seed)).text
        columns = (text.ids, text.segments, text.token_labels["follows"])
        for ids, parts, follows in zip(*map(text.layout.split, columns), strict=True):
            first, second = (ids[(parts == part) & (ids > 4)] for part in (0, 1))
            own = len(second) == 2 and second[0] == first[-1] + 1
            assert own == bool(follows.min()) == bool(follows.max())
            assert own or (second // 10 != first[0] // 10).all(), "of another document, from one of its sentences on"
            assert own or second.tolist() == list(range(int(second[0]), 10 * int(second[0] // 10) + 4))
            shares.append(own)
    assert abs(sum(shares) / len(shares) - 0.5) < 0.06
    again = [source.batch([0, 1, 2], seeded(5)).text.ids for _ in range(2)]
    assert torch.equal(*again)


def test_a_long_segment_of_another_document_is_cut_to_fit() -> None:
    documents = [[sentence(10 * d + n) for n in range(9)] for d in (1, 2)]
    source = NextSentences.of(TokenizedDocuments.of(documents), SPECIALS, 8)
    lengths = {n for seed in range(50) for n in source.batch([0, 1], seeded(seed)).text.layout.lengths}
    assert max(lengths) <= 8


def test_next_sentences_need_two_documents() -> None:
    message = (
        r"^next-sentence needs consecutive segments and segments of two documents, but there are 1 documents "
        r"with 1 pairs of neighbouring segments; set documents apart by blank lines, or give a larger data.max_length$"
    )
    with pytest.raises(UserError, match=message):
        NextSentences.of(TokenizedDocuments.of([[sentence(5), sentence(6)]]), SPECIALS, 20)


@pytest.mark.parametrize(("recipe", "follows"), [("bert-base", 0), ("ernie-baidu-base", 1)])
def test_each_system_has_the_classes_of_next_sentence_that_it_was_published_with(
    recipe: str, follows: int, data: Documents
) -> None:
    source = build(experiment(data, ("next-sentence",), recipe)).training
    seen = set()
    for seed in range(20):
        batch = source.batch(range(len(source)), seeded(seed)).by_name["next-sentence"]
        text = batch.inputs.text
        marks = text.token_labels["follows"][text.layout.starts(text.ids.device)]
        seen |= set(zip(marks.tolist(), batch.classes.tolist(), strict=True))
    assert seen == {(1, follows), (0, 1 - follows)}


def test_distances_are_those_of_the_documents() -> None:
    """Sentence n of document d is the one token 10 d + n."""
    documents = [[sentence(10 * d + n) for n in range(6)] for d in (1, 2, 3)]
    source = Distances.of(TokenizedDocuments.of(documents), SPECIALS, 20)
    assert len(source) == 15
    counts: Counter[int] = Counter()
    for seed in range(100):
        text = source.batch(range(15), seeded(seed)).text
        for ids, (kind, *_) in zip(
            text.layout.split(text.ids), text.layout.split(text.token_labels["sentence-distance"]), strict=True
        ):
            _, one, _, other, _ = ids.tolist()
            near, same = other == one + 1, one // 10 == other // 10
            assert int(kind) == (0 if near else 1 if same and abs(one - other) > 1 else 2)
            assert one != other
            counts[int(kind)] += 1
    # the sentences that have neighbours on all sides have no others in a document of three, but here all have
    assert all(abs(counts[kind] / 1500 - 1 / 3) < 0.05 for kind in range(3))
    with pytest.raises(UserError, match=r"there are 1 documents with 5 neighbouring sentences; set documents apart"):
        Distances.of(TokenizedDocuments.of(documents[:1]), SPECIALS, 20)


@pytest.mark.parametrize(
    ("recipe", "objectives"),
    [
        ("spanbert", ("masked-spans",)),
        ("macbert", ("masked-similar-words", "sentence-order")),
        ("bert-wwm-large", ("masked-tokens",)),
        ("ernie2", ERNIE2),
    ],
)
def test_the_objectives_of_a_system_are_learnt(recipe: str, objectives: tuple[str, ...], data: Documents) -> None:
    """The same puzzles again and again: every loss falls to a small part."""
    if recipe == "macbert":
        data = replace(data, num_segments=2)
    built = build(experiment(data, objectives, recipe if recipe != "macbert" else "macbert-base-chinese"))
    source, model = built.source("train"), built.model.train()
    batches = source.batch(range(len(source)), seeded(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with torch.no_grad():
        first = {name: loss.mean() for name, loss in model.measure(batches).items()}
    for _ in range(80):
        optimizer.zero_grad()
        model.loss(batches).backward()
        optimizer.step()
    with torch.no_grad():
        last = {name: loss.mean() for name, loss in model.measure(batches).items()}
    assert first.keys() == set(objectives)
    assert all(last[name] < 0.25 * first[name] for name in objectives), (first, last)


def test_phrases_are_hidden_whole(data: Documents) -> None:
    built = build(experiment(data, ("masked-tokens",)))
    a, city = (5 + WORDS.index(word) for word in ("a", "city"))
    hidden: Counter[int] = Counter()
    for seed in range(60):
        source = built.source("train")
        batch = source.batch(range(len(source)), seeded(seed)).by_name["masked-tokens"]
        labels = batch.labels.tolist()
        assert (a in labels) == (city in labels)
        hidden[a] += a in labels
    assert hidden[a]


def test_stages_train_one_objective_a_step_and_measure_all(data: Documents, tmp_path: Path) -> None:
    """As an experiment file says, resumed in the middle of a stage."""
    stages = {"masked-tokens": (4, 2), "capitalization": (0, 3), "sentence-distance": (0, 3)}
    settings = experiment(
        data,
        tuple(stages),
        stages=stages,
        train=TrainSettings(steps=12, batch_size=4, lr=1e-3, log_every=1, save_every=6),
        out=tmp_path,
    )
    (tmp_path / "experiment.yaml").write_text(config.dump(settings))
    settings = config.read(Experiment, tmp_path / "experiment.yaml")
    assert settings.stages == stages
    source = build(settings).training
    assert isinstance(source, OneAStep)
    seen = [list(source.at(step).batch(range(4), seeded(step)).by_name) for step in range(1, 13)]
    assert seen[:4] == [["masked-tokens"]] * 4
    assert Counter(name for (name,) in seen[4:]) == {"masked-tokens": 2, "capitalization": 3, "sentence-distance": 3}
    train(settings, tmp_path / "run", progress=False)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    held = [row for row in metrics if row["split"] == "dev"][-1]
    assert {"masked-tokens", "capitalization", "sentence-distance"} <= held.keys()


def test_one_objective_a_step_is_drawn_and_a_resumed_run_draws_the_same(data: Documents, tmp_path: Path) -> None:
    settings = experiment(
        data,
        ("masked-tokens", "capitalization"),
        objectives_per_step="one",
        train=TrainSettings(steps=8, batch_size=4, lr=1e-3, warmup=0.0, schedule="constant"),
        out=tmp_path,
    )
    built = build(settings)
    batches = [built.training.at(step).batch(range(4), seeded(step)) for step in range(1, 9)]
    drawn = [name for batch in batches for name in batch.by_name]
    assert len(drawn) == 8 and set(drawn) == {"masked-tokens", "capitalization"}
    alone = built.model.objectives[drawn[0]].loss(built.system, batches[0].by_name[drawn[0]])
    built.model.weights = dict.fromkeys(built.model.weights, 3.0)
    torch.testing.assert_close(built.model.loss(replace(batches[0], factor=1 / 3)), alone)
    whole = train(settings, tmp_path / "whole", progress=False)
    train(replace(settings, train=replace(settings.train, steps=4)), tmp_path / "run", progress=False)
    resumed = train(settings, tmp_path / "run", resume=True, progress=False)
    assert all(map(torch.equal, whole.system.parameters(), resumed.system.parameters()))
    assert set(built.source("dev").batch(range(2), seeded(0)).by_name) == set(drawn), "all are measured"


def test_an_objective_learns_in_its_stages_alone(data: Documents, tmp_path: Path) -> None:
    """What has no step keeps the weights that it began with."""
    objectives = ("masked-tokens", "capitalization")
    settings = experiment(data, objectives, train=TrainSettings(steps=4, batch_size=4, lr=1e-3))
    before = build(settings).system.head("capitalization").weight
    for steps, learns in ((0, False), (1, True)):
        stages = {"masked-tokens": (4 - steps,), "capitalization": (steps,)}
        built = train(replace(settings, stages=stages), tmp_path / str(steps), progress=False)
        assert torch.equal(built.system.head("capitalization").weight, before) is not learns


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"stages": {"capitalization": (3,)}},
            r"^stages are of capitalization, but objectives are capitalization, masked-tokens; give",
        ),
        (
            {"stages": {"capitalization": (3, 1), "masked-tokens": (2, 1)}},
            r"^stages have 7 steps in all, but train.steps is 10; make them equal$",
        ),
        (
            {"stages": {"capitalization": (3,), "masked-tokens": (2,)}, "train": TrainSettings(epochs=1)},
            r"^stages count steps, but train.epochs is 1; set train.steps instead$",
        ),
        (
            {"task": "entailment", "stages": {"capitalization": (3,)}},
            r"^stages are of objectives alone, but the task entail",
        ),
        (
            {"task": "entailment", "objectives_per_step": "one"},
            r"^objectives_per_step is one, but the task entailment is trained beside them; leave it at all$",
        ),
        (
            {"stages": {"capitalization": (5,), "masked-tokens": (5,)}, "objectives_per_step": "one"},
            r"^objectives_per_step is one, but stages say which; leave it at all$",
        ),
        ({"objectives_per_step": "two"}, r"^objectives_per_step is 'two' but must be one of all, one$"),
    ],
)
def test_stages_that_do_not_fit_are_refused(changed: dict[str, object], message: str, data: Documents) -> None:
    with pytest.raises(UserError, match=message):
        experiment(data, ("masked-tokens", "capitalization"), **{"train": TrainSettings(steps=10), **changed})


@pytest.mark.parametrize(
    ("changed", "objective", "message"),
    [
        (
            {"similar": None},
            "masked-similar-words",
            r"^masked-similar-words needs a table of similar words, which the data set documents does not have; name a "
            r"word and words similar to it a line as data.similar$",
        ),
        (
            {"pairs": {}},
            "ir-relevance",
            r"^ir-relevance needs pairs of texts labelled for ir-relevance, which the data set documents does not "
            r"have; name their file as data.pairs.ir-relevance$",
        ),
        ({}, "capitals", r"^no objective is called 'capitals'; did you mean capitalization\?$"),
    ],
)
def test_what_an_objective_lacks_is_named(
    changed: dict[str, object], objective: str, message: str, data: Documents
) -> None:
    with pytest.raises(UserError, match=message):
        build(experiment(replace(data, **changed), (objective,)))


def test_documents_of_one_segment_have_no_words_to_find_elsewhere(data: Documents) -> None:
    message = r"^document-words looks for words in other segments of their document, but each .* has one of 64 pieces"
    with pytest.raises(UserError, match=message):
        build(experiment(replace(data, max_length=64), ("document-words",))).source("train")


def test_labels_that_cannot_be_told_apart_are_refused(data: Documents, tmp_path: Path) -> None:
    (tmp_path / "relevance.tsv").write_text("rome\tRome is a city\tstrong\n")
    with pytest.raises(UserError, match=r"relevance.tsv has one label, 'strong'; there must be at least two"):
        build(experiment(data, ("ir-relevance",)))
    (tmp_path / "held.tsv").write_text("we left\the saw it\tunless\n")
    with pytest.raises(UserError, match=r"held.tsv has the label 'unless', which training has not: and, but, then$"):
        build(experiment(data, ("discourse-relation",))).source("dev")


def test_settings_that_say_nothing_are_refused(data: Documents) -> None:
    with pytest.raises(UserError, match=r"^data.mask_rate is 1.0 but must be a share of the tokens"):
        replace(data, mask_rate=1.0)
    with pytest.raises(UserError, match=r"^data.pairs are of discourse-relation, ir-relevance, not of capitalization$"):
        replace(data, pairs={"capitalization": data.train})


def test_a_token_store_is_trained_on_as_what_is_in_memory(data: Documents, tmp_path: Path) -> None:
    """The batches of texts, and of triples of described entities; the store is built once."""
    (tmp_path / "triples.tsv").write_text("Q1\tP1\tQ2\nQ2\tP1\tQ1\nQ2\tP2\tQ1\n")
    (tmp_path / "texts.tsv").write_text("Q1\tRome is big\nQ2\tshe saw Oslo\n")
    knowledge = KnowledgeFiles(triples=tmp_path / "triples.tsv", descriptions=tmp_path / "texts.tsv")
    objectives = ("masked-tokens", "knowledge-embedding")
    in_memory = replace(data, knowledge=knowledge)
    on_disk = replace(in_memory, token_store=tmp_path / "store")
    sources = [build(experiment(one, objectives, "kepler")).training for one in (in_memory, on_disk, on_disk)]
    assert lengths_of(sources[0]).tolist() == [sources[1].length(number) for number in range(len(sources[1]))]
    first, *others = [source.batch(range(len(source)), seeded(1)).by_name for source in sources]
    for other in others:
        assert torch.equal(first["masked-tokens"].labels, other["masked-tokens"].labels)
        assert torch.equal(first["masked-tokens"].inputs.text.ids, other["masked-tokens"].inputs.text.ids)
        assert torch.equal(first["knowledge-embedding"].false_tails, other["knowledge-embedding"].false_tails)
        assert torch.equal(first["knowledge-embedding"].texts.text.ids, other["knowledge-embedding"].texts.text.ids)
    assert sorted(path.name for path in (tmp_path / "store").iterdir() if path.is_dir()) == ["knowledge", "train"]
    stale = replace(on_disk, lowercase=False)
    with pytest.raises(UserError, match=r"train was built from other files, with another tokenizer or with other"):
        build(experiment(stale, ("masked-tokens",), "kepler")).training.batch([0], seeded(0))
