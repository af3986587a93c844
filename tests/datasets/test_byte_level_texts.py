"""Tasks on files read the pieces of RoBERTa's kin as those were trained: framing, spaces in pieces, places of words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.custom import OwnTexts
from mm_kptm.datasets.pretraining.documents import Documents
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.experiment.text_embedding import text_vectors
from mm_kptm.knowledge.injection.marker_tokens import marked_rows
from mm_kptm.train.protocol import module_of
from mm_kptm.train.settings import TrainSettings
from tests.data.tokenizers.byte_pairs import MADE_UP, learnt, saved

TEXTS = ["Anna was born in Rome.", "Rome is old.", "An old town is no village.", "We saw Anna."]
SMALL = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "max_positions": 66, "dropout": 0.0}
SIZES = {**SMALL, "num_layers": 2}
ADAPTERS = {"adapter_dim": 8, "adapter_heads": 2, "adapter_layers": 1, "adapter_ffn_dim": 16}
LINES = {
    "entailment": [
        {"premise": "Anna was born in Rome.", "hypothesis": "Rome is old.", "label": "neutral"},
        {"premise": "Rome is old.", "hypothesis": "Rome is a village.", "label": "contradiction"},
    ],
    "sentence-classification": [{"text": "Rome is old.", "label": "a"}, {"text": "Anna was born.", "label": "b"}],
    "named-entities": [
        {"words": ["Anna", "was", "born", "in", "Rome", "."], "tags": ["B-PER", "O", "O", "O", "B-LOC", "O"]},
        {"words": ["Rome", "is", "old", "."], "tags": ["B-LOC", "O", "O", "O"]},
    ],
    "cloze": [
        {"text": "Anna was born in [MASK].", "answer": "Rome", "subject": "Anna", "relation": "born"},
        {"text": "[MASK] is old.", "answer": "Rome", "relation": "old"},
    ],
    "entity-typing": [
        {"text": "Rome is old.", "mention": [0, 4], "types": ["city"]},
        {"text": "Anna was born in Rome.", "mention": [0, 4], "types": ["person"]},
    ],
    "relation-classification": [
        {"text": "Anna was born in Rome.", "head": [0, 4], "tail": [17, 21], "relation": "born"},
        {"text": "Anna is in Rome.", "head": [0, 4], "tail": [11, 15], "relation": "none"},
    ],
}
#: Systems that read byte-level pairs; K-Adapter predicts no words.
READERS = {
    "roberta-base": tuple(LINES),
    "kepler-base": tuple(LINES),
    "colake-base": tuple(LINES),
    "k-adapter-large": tuple(task for task in LINES if task != "cloze"),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    saved(learnt(TEXTS * 9, vocab_size=600), tmp_path / "pieces", "hugging-face")
    for task, lines in LINES.items():
        (tmp_path / f"{task}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "graph.spo").write_text("Anna\tis\told\nRome\tis\ttown\n")
    return tmp_path


def built(home: Path, task: str, recipe: str = "roberta-base", knowledge: str = "none", **data: object):
    sizes = {**SIZES, **(ADAPTERS if recipe.startswith("k-adapter") else {})}
    if recipe == "bert-base":
        sizes["num_segments"] = 2
    files = {"train": home / f"{task}.jsonl", "vocabulary": home / "pieces", "max_length": 64, **data}
    given = KnowledgeSettings(knowledge, "true") if knowledge != "none" else KnowledgeSettings()
    return build(
        Experiment(
            "tiny",
            EncoderSettings(recipe, sizes=sizes),
            OwnTexts(name="custom-text", **files),
            task,
            given,
            train=TrainSettings(steps=1, batch_size=2),
            out=home / "runs",
        )
    )


def batch_of(home: Path, task: str, **more: object):
    found = built(home, task, **more)
    source = found.source("train")
    return found, source.batch(range(len(source)), seeded(0))


def spelt(home: Path, batch, number: int = 0) -> list[str]:
    """A text of a batch in pieces, their spaces shown as the files show them."""
    pieces = open_tokenizer(home / "pieces").vocabulary
    text = batch.inputs.text
    return [pieces[at] for at in text.ids[text.layout.offsets[number] : text.layout.offsets[number + 1]].tolist()]


@pytest.mark.parametrize(("recipe", "task"), [(recipe, task) for recipe, tasks in READERS.items() for task in tasks])
def test_every_task_takes_a_step_with_the_pieces_of_robertas_kin(home, task, recipe):
    found, batch = batch_of(home, task, recipe=recipe)
    model = module_of(found.model)
    assert found.system.sizes["vocab_size"] == len(open_tokenizer(home / "pieces"))
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found.model.loss(batch).backward()
    optimizer.step()
    assert any(not torch.equal(one, before[name]) for name, one in model.named_parameters())


def test_a_pair_stands_as_roberta_reads_it(home):
    _, batch = batch_of(home, "entailment")
    # fmt: off
    assert spelt(home, batch) == [
        "<s>", "Anna", "Ġwas", "Ġborn", "Ġin", "ĠRome", ".", "</s>", "</s>", "Rome", "Ġis", "Ġold", ".", "</s>"
    ]
    # fmt: on
    assert batch.inputs.text.positions[:14].tolist() == list(range(14))
    assert not batch.inputs.text.segments.any()


def test_a_pair_that_is_cut_keeps_both_stops(home):
    _, batch = batch_of(home, "entailment", max_length=8)
    assert spelt(home, batch) == ["<s>", "Anna", "Ġwas", "</s>", "</s>", "Rome", "Ġis", "</s>"]


def test_the_longest_text_ends_at_the_last_position(home):
    (home / "entailment.jsonl").write_text(
        json.dumps({"premise": "Rome " * 99, "hypothesis": "old " * 99, "label": "neutral"}) + "\n"
    )
    found, batch = batch_of(home, "entailment", max_length=SIZES["max_positions"] - 2)
    assert batch.inputs.text.layout.lengths == (64,)
    assert found.model.loss(batch).isfinite()


def test_a_blank_takes_the_space_before_it_and_a_word_behind_a_space_fills_it(home):
    found, batch = batch_of(home, "cloze")
    assert spelt(home, batch) == ["<s>", "Anna", "Ġwas", "Ġborn", "Ġin", "<mask>", ".", "</s>"]
    assert spelt(home, batch, 1) == ["<s>", "<mask>", "Ġis", "Ġold", ".", "</s>"]
    pieces = open_tokenizer(home / "pieces").vocabulary
    task = found.task
    assert [pieces[task.ids[at]] for at in batch.truth.tolist()] == ["ĠRome", "ĠRome"]
    assert [task.words[at] for at in batch.truth.tolist()] == ["Rome", "Rome"]
    assert batch.rows.tolist() == [5, 9]


def test_every_word_of_the_vocabulary_may_fill_a_blank(home):
    task = built(home, "cloze").task
    pieces = open_tokenizer(home / "pieces").vocabulary
    filled = dict(zip(task.words, (pieces[number] for number in task.ids.tolist()), strict=True))
    assert {"Rome": "ĠRome", "Anna": "ĠAnna", "old": "Ġold"}.items() <= filled.items()
    assert not any(piece.startswith("<") or not piece.startswith("Ġ") for piece in filled.values() if len(piece) > 1)


def test_a_file_of_candidates_is_looked_up_as_words(home):
    (home / "words.txt").write_text("Rome\nold\nunheard-of\n")
    assert built(home, "cloze", candidates=home / "words.txt").task.words == ("Rome", "old")


def test_a_tag_stands_at_the_first_piece_of_its_word(home):
    (home / "named-entities.jsonl").write_text(
        json.dumps({"words": ["Annabel", "(", "Rome"], "tags": ["B-PER", "O", "B-LOC"]}) + "\n"
    )
    _, batch = batch_of(home, "named-entities")
    pieces = spelt(home, batch)
    assert pieces[:2] == ["<s>", "Anna"] and pieces[-2:] == ["ĠRome", "</s>"]
    assert [pieces[row] for row in batch.rows.tolist()] == ["Anna", "Ġ(" if "Ġ(" in pieces else "Ġ", "ĠRome"]
    assert batch.words.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("recipe", "marks", "around", "read"),
    [
        ("k-adapter-large", None, ("@", "@"), "@"),
        ("kepler-base", None, ("madeupword0000", "madeupword0001"), "ĠRome"),
        ("roberta-base", "k-adapter", ("@", "@"), "@"),
        ("kepler-base", "k-adapter", ("@", "@"), "@"),
    ],
)
def test_a_typed_mention_is_marked_as_its_system_reads_it(home, recipe, marks, around, read):
    row = {"text": "We saw Rome @ noon.", "mention": [7, 11], "types": ["city"]}
    other = {"text": "Rome.", "mention": [0, 4], "types": ["town"]}
    (home / "entity-typing.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    found, batch = batch_of(home, "entity-typing", recipe=recipe, markers=marks)
    pieces = spelt(home, batch)
    assert pieces[:6] == ["<s>", "We", "Ġsaw", around[0], "ĠRome", around[1]]
    assert spelt(home, batch, 1) == ["<s>", around[0], "Rome", around[1], ".", "</s>"]
    rows = marked_rows(batch.inputs, 1)
    assert rows.tolist() == [[4 if read == "ĠRome" else 3], [len(pieces) + (2 if read == "ĠRome" else 1)]]
    assert found.task.head.name == (None if recipe == "roberta-base" else "marked-typing")
    with torch.no_grad():
        system = found.system.eval()
        states = system(batch.inputs).text[rows[:, 0]]
        torch.testing.assert_close(found.task.eval()(batch.inputs), found.task.head.of(system)(states))


@pytest.mark.parametrize(
    ("recipe", "around"), [("k-adapter-large", ("@", "@", "#", "#")), ("kepler-base", ('"', "#", "$", "%"))]
)
def test_head_and_tail_are_read_at_their_marks_whichever_stands_first(home, recipe, around):
    text = "Anna saw Rome."
    rows = [
        {"text": text, "head": [0, 4], "tail": [9, 13], "relation": "saw"},
        {"text": text, "head": [9, 13], "tail": [0, 4], "relation": "seen"},
    ]
    (home / "relation-classification.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, batch = batch_of(home, "relation-classification", recipe=recipe)
    a, b, c, d = around
    assert spelt(home, batch) == ["<s>", a, "Anna", b, "Ġsaw", c, "ĠRome", d, ".", "</s>"]
    assert spelt(home, batch, 1) == ["<s>", c, "Anna", d, "Ġsaw", a, "ĠRome", b, ".", "</s>"]
    assert marked_rows(batch.inputs, 2).tolist() == [[1, 5], [15, 11]]
    assert found.task.head.name == "marked-relation"
    assert found.task(batch.inputs).shape == (2, 2)


def test_a_mark_that_is_cut_off_is_read_at_the_first_token(home):
    row = {"text": "Rome is old, and old, and Anna saw Rome.", "head": [0, 4], "tail": [26, 30], "relation": "a"}
    rows = [row, {**row, "relation": "b"}]
    (home / "relation-classification.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, batch = batch_of(home, "relation-classification", recipe="k-adapter-large", max_length=8)
    assert marked_rows(batch.inputs, 2).tolist() == [[1, 0], [9, 8]]


def test_marks_stand_beside_facts(home):
    found, batch = batch_of(
        home, "entity-typing", recipe="k-adapter-large", knowledge="sentence-tree", graph=home / "graph.spo"
    )
    assert spelt(home, batch)[:6] == ["<s>", "@", "Rome", "Ġis", "Ġtown", "@"]
    assert marked_rows(batch.inputs, 1)[0].tolist() == [1]
    assert found.model.loss(batch).isfinite()


def test_marks_that_the_vocabulary_lacks_are_refused(home):
    (home / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "rome", "is", "old", "."]) + "\n")
    with pytest.raises(
        UserError, match=r"marked with the pieces @ @, but data.vocabulary has no @; name the tokenizer"
    ):
        built(home, "entity-typing", recipe="k-adapter-large", vocabulary=home / "vocab.txt")
    assert built(home, "entity-typing", recipe="k-adapter-large", vocabulary=home / "vocab.txt", markers="ernie")


def test_facts_hang_from_a_name_as_words_behind_it(home):
    _, batch = batch_of(home, "sentence-classification", knowledge="sentence-tree", graph=home / "graph.spo")
    assert spelt(home, batch) == ["<s>", "Rome", "Ġis", "Ġtown", "Ġis", "Ġold", ".", "</s>"]
    assert batch.inputs.text.positions[:8].tolist() == [0, 1, 2, 3, 2, 3, 4, 5]


def test_whole_words_of_documents_are_what_spaces_part(home):
    (home / "train.txt").write_text("Annabel was born.\nRome is old.\n\nRome is old.\nAnna was born.\n")
    data = Documents(name="documents", train=home / "train.txt", vocabulary=home / "pieces", max_length=32)
    settings = Experiment(
        "documents", EncoderSettings("roberta-base", sizes=SIZES), data, objectives={"masked-tokens": 1.0}
    )
    inputs = build(settings).source("train").inputs["masked-tokens"].batch([0], seeded(0))
    pieces = open_tokenizer(home / "pieces").vocabulary
    shown = [pieces[number] for number in inputs.text.ids.tolist()]
    units = inputs.text.mask_groups.tolist()
    assert shown[1] == "Anna" and len(shown) > 8
    assert set(units[1 : shown.index("Ġwas")]) == {0}
    assert max(units) == 5  # a full stop belongs to the word before it


def test_data_are_told_apart_by_every_file_of_the_tokenizer(home):
    before = dict(built(home, "entailment").prepared.fingerprints)
    assert set(before) == {"train", "vocabulary/vocab.json", "vocabulary/merges.txt"}
    with (home / "pieces" / "merges.txt").open("a") as stream:
        stream.write("\n")
    after = built(home, "entailment").prepared.fingerprints
    assert {name for name in before if before[name] != after[name]} == {"vocabulary/merges.txt"}


EXPERIMENT = """\
name: typed
task: entity-typing
data: {name: open-entity, train: train.json, dev: train.json, vocabulary: pieces, max_length: 24}
encoder: {recipe: kepler-base, weights: kepler}
train: {steps: 2, batch_size: 2}
"""


@pytest.fixture
def folder(home, monkeypatch):
    """A saved KEPLER, and an experiment that goes on with it."""
    monkeypatch.chdir(home)
    pieces = len(open_tokenizer("pieces"))
    mm_kptm.save(mm_kptm.build("kepler-base", seed=0, vocab_size=pieces, num_layers=1, **SMALL), "kepler")
    rows = [{"sent": "Rome is old.", "start": 0, "end": 4, "ents": [], "labels": ["city", "place"]}]
    rows += [{"sent": "We saw Anna.", "start": 7, "end": 11, "ents": [], "labels": ["person"]}]
    Path("train.json").write_text(json.dumps(rows))
    Path("typed.yaml").write_text(EXPERIMENT)
    return home


def test_open_entity_is_learnt_and_answered_by_a_kepler_of_its_own_pieces(folder, capsys):
    assert cli.main(["train", "typed.yaml"]) == 0
    assert cli.main(["evaluate", "runs/typed", "--split", "dev", "--json"]) == 0
    assert "micro-f1" in capsys.readouterr().out
    assert cli.main(["predict", "runs/typed", "--input", "train.json", "--out", "answers.jsonl"]) == 0
    answers = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert [one["target"] for one in answers] == ["city|place", "person"]
    assert "marked-typing" in json.loads(Path("runs/typed/model/config.json").read_text())["heads"]
    vectors = text_vectors("runs/typed")
    assert vectors(["Rome is old."]).shape == (1, SMALL["dim"])


@pytest.mark.parametrize(
    ("vocabulary", "sentence"),
    [
        (
            "vocab.txt",
            "the vocabulary of the data has 600 pieces, but kepler-base has vectors of {rows}; name the tokenizer that "
            "its weights were trained with",
        ),
        (
            "few.txt",
            "the vocabulary of the data has 60 pieces, but kepler-base has vectors of {rows}; name the tokenizer that "
            "its weights were trained with",
        ),
        ("train.json", "train.json is no tokenizer of the tokenizers library: "),
        ("typed.yaml", "typed.yaml has no [PAD], [UNK], [CLS], [SEP], [MASK]; a vocabulary holds "),
        (
            "kepler",
            "kepler holds no tokenizer; one of tokenizer.json, vocab.txt, bpe_simple_vocab_16e6.txt.gz, vocab.json with merges.txt, ",
        ),
        ("pieces/gone.json", "a vocabulary was looked for in pieces/gone.json, but there is no such file"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused_before_anything_is_written(folder, capsys, vocabulary, sentence):
    rows = len(open_tokenizer("pieces"))
    for name, count in (("vocab.txt", 600), ("few.txt", 60)):
        Path(name).write_text("\n".join([*BERT_SPECIALS, *MADE_UP, *(f"w{n}" for n in range(count - 8))]) + "\n")
    assert cli.main(["train", "typed.yaml", f"--data.vocabulary={vocabulary}"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"mm-kptm: {sentence.format(rows=rows)}") and err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_table_that_is_a_little_longer_than_the_vocabulary_is_read(folder):
    pieces = len(open_tokenizer("pieces"))
    mm_kptm.save(mm_kptm.build("kepler-base", seed=0, vocab_size=pieces + 3, num_layers=1, **SMALL), "kepler")
    assert cli.main(["train", "typed.yaml", "--train.steps=1"]) == 0


def test_a_fresh_table_that_is_asked_for_too_short_is_refused(folder, capsys):
    asked = ["--encoder.weights=null", "--encoder.sizes.vocab_size=9", "--encoder.sizes.num_layers=1"]
    asked += [f"--encoder.sizes.{name}={size}" for name, size in SMALL.items()]
    assert cli.main(["train", "typed.yaml", *asked]) == 2
    assert "pieces, but kepler-base has vectors of 9; leave encoder.sizes.vocab_size out" in capsys.readouterr().err
