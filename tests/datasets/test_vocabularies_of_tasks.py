"""Data sets beside one's own read the tokenizer that data.vocabulary names: XLM's, XLM-R's, KEPLER's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers

from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.datasets.knowledge.lama import LamaData
from mm_kptm.datasets.knowledge.triples import TripleData
from mm_kptm.datasets.pretraining.documents import Documents
from mm_kptm.datasets.text.xnli import XnliData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from tests.data.tokenizers.byte_pairs import learnt, saved

SIZES = {"dim": 16, "num_heads": 2, "num_layers": 1, "max_positions": 66, "dropout": 0.0}
TEXTS = ["Anna was born in Rome.", "In Rome was Anna born.", "Of Oslo is Rome no town.", "We saw Anna."]


def batch_of(settings: Experiment, split: str = "train"):
    built = build(settings)
    source = built.source(split)
    batch = source.batch(range(len(source)), seeded(0))
    assert built.model.loss(batch).isfinite()
    return built, batch


def shown(folder: Path, text, number: int = 0) -> list[str]:
    pieces = open_tokenizer(folder).vocabulary
    return [pieces[at] for at in text.ids[text.layout.offsets[number] : text.layout.offsets[number + 1]].tolist()]


def test_xlm_reads_pairs_in_its_own_pieces_and_languages(tmp_path):
    (tmp_path / "codes_xnli_15").write_text("w e 9\nr a 8\nra i 7\nrai n</w> 6\nwe t</w> 5\n")
    (tmp_path / "vocab_xnli_15").write_text("rain 9\nwet 8\nd@@ 7\nr@@ 6\ny 5\n")
    (tmp_path / "train-en.tsv").write_text("Rain\twet\tentailment\nrain\tdry\tcontradiction\n")
    data = XnliData(
        name="xnli", vocabulary=tmp_path, train=tmp_path / "train-en.tsv", max_length=16, languages=("en", "de")
    )
    sizes = {**SIZES, "num_languages": 2}
    _, batch = batch_of(Experiment("xlm", EncoderSettings("xlm-15", sizes=sizes), data, "entailment"))
    assert shown(tmp_path, batch.inputs.text) == ["</s>", "rain", "</s>", "wet", "</s>"]
    assert shown(tmp_path, batch.inputs.text, 1) == ["</s>", "rain", "</s>", "d@@", "r@@", "y", "</s>"]
    assert batch.inputs.text.languages.tolist() == [0] * 12


def test_unigrams_of_a_tokenizer_json_fill_blanks(tmp_path):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁Rome", "▁Oslo", "▁in", "▁saw", "▁We", ".", *"abcRomeOslinW"]
    engine = Engine(models.Unigram([(piece, -float(n)) for n, piece in enumerate(dict.fromkeys(pieces))], unk_id=3))
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    engine.add_special_tokens(["<mask>"])
    engine.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "P1.jsonl").write_text(
        json.dumps({"sub_label": "We", "obj_label": "Rome", "masked_sentences": ["We saw [MASK] in Oslo."]}) + "\n"
    )
    data = LamaData(name="lama", test=tmp_path / "P1.jsonl", vocabulary=tmp_path / "tokenizer.json")
    settings = Experiment("cloze", EncoderSettings("roberta-base", sizes={**SIZES, "ffn_dim": 32}), data, "cloze")
    built, batch = batch_of(settings, "test")
    assert shown(tmp_path, batch.inputs.text)[:5] == ["<s>", "▁We", "▁saw", "<mask>", "▁in"]
    assert [built.task.words[at] for at in batch.truth.tolist()] == ["Rome"]
    assert {"Rome", "Oslo", "in"} <= set(built.task.words) and "<mask>" not in built.task.words


@pytest.fixture
def pieces(tmp_path) -> Path:
    return saved(learnt(TEXTS * 9, vocab_size=600), tmp_path / "pieces", "fairseq")


def test_swapped_facts_are_told_and_found_in_byte_level_pieces(tmp_path, pieces):
    facts = [("Anna", "Rome"), ("We", "Oslo")]
    (tmp_path / "P19.jsonl").write_text(
        "".join(
            json.dumps({"sub_label": s, "obj_label": o, "masked_sentences": [f"{s} saw [MASK]."]}) + "\n"
            for s, o in facts
        )
    )
    (tmp_path / "graph.spo").write_text("".join(f"{s}\tP19\t{o}\n" for s, o in facts))
    data = LamaData(
        name="lama", test=tmp_path / "P19.jsonl", vocabulary=pieces, graph=tmp_path / "graph.spo", wording="object"
    )
    encoder = EncoderSettings("kepler-base", sizes={**SIZES, "ffn_dim": 32})
    settings = Experiment("cloze", encoder, data, "cloze", KnowledgeSettings("sentence-tree", "true"))
    _, batch = batch_of(settings, "test-swapped")
    assert shown(pieces, batch.inputs.text)[:5] == ["<s>", "Anna", "ĠOslo", "Ġsaw", "<mask>"]
    assert [(about.target, about.factual_answer) for about in batch.about] == [("Oslo", "Rome"), ("Rome", "Oslo")]


def test_descriptions_are_read_in_the_pieces_of_kepler(tmp_path, pieces):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.tsv").write_text("Q1\tin\tQ2\nQ2\tin\tQ1\n")
    (tmp_path / "descriptions.tsv").write_text("Q1\tWe saw Anna.\nQ2\tOf Oslo\n")
    data = TripleData(name="triples", vocabulary=pieces, folder=tmp_path, max_length=16)
    encoder = EncoderSettings("kepler-base", sizes={**SIZES, "ffn_dim": 32})
    built = build(Experiment("links", encoder, data, "link-prediction"))
    assert built.system.sizes["vocab_size"] == len(open_tokenizer(pieces))
    assert {"vocabulary/encoder.json", "vocabulary/vocab.bpe", "vocabulary/dict.txt"} <= set(
        built.prepared.fingerprints
    )
    source = built.source("train")
    assert built.model.loss(source.batch(range(len(source)), seeded(0))).isfinite()


def test_senses_are_of_word_pieces_alone(tmp_path, pieces):
    (tmp_path / "train.txt").write_text("We saw Anna.\n")
    for name in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{name}").write_text("00000001 03 n 01 town 0 000 | a place  \n")
    data = Documents(name="documents", vocabulary=pieces, train=tmp_path / "train.txt", wordnet=tmp_path)
    encoder = EncoderSettings("sensebert-base", sizes={**SIZES, "ffn_dim": 32})
    with pytest.raises(UserError, match=r"masked-senses needs word pieces, .* of another kind; name a vocab"):
        build(Experiment("senses", encoder, data, objectives={"masked-senses": 1.0}))
