"""Facts and descriptions in a text tower: from own files to a search that shows which facts were read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mm_kptm import cli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.tower_texts import read_descriptions
from mm_kptm.datasets.vision.captioned_images import CaptionedImages, retrieval
from mm_kptm.errors import UserError
from mm_kptm.knowledge.kinds.protocol import find_kind
from mm_kptm.suites.search.model import open_model
from mm_kptm.systems.discovery import find

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
OWNERS = {"red": "anna", "green": "boris", "blue": "carla"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    lines = []
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), colour).save(tmp_path / "pictures" / f"{name}.png")
        lines.append({"image": f"{name}.png", "captions": [f"the wall of {OWNERS[name]}"]})
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    facts = [f"{owner}\tpaints\t{colour}" for colour, owner in OWNERS.items()]
    (tmp_path / "facts.tsv").write_text("\n".join([*facts, "anna\tlikes\t<b>tea</b>"]) + "\n")
    described = [f"{owner}\ten\tpaints {colour} walls" for colour, owner in OWNERS.items()]
    (tmp_path / "described.tsv").write_text("\n".join([*described, "anna\tde\tmalt rot"]) + "\n")
    words = ["the", "wall", "walls", "of", "paints", "likes", "tea", "<", ">", "b", "/", "malt", "rot"]
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *words, *COLOURS, *OWNERS.values()]))
    return tmp_path


def experiment(folder: Path, **knowledge: str) -> Path:
    text = {"recipe": "bert-base", "dim": 16, "num_layers": 1, "num_heads": 2, "ffn_dim": 16, "dropout": 0.0}
    image = {"patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
    run = {
        "name": "owners",
        "task": "contrastive-retrieval",
        "data": {
            "name": "captioned-images",
            "train": "train.jsonl",
            "test": "train.jsonl",
            "pictures": "pictures",
            "vocabulary": "vocab.txt",
            "image_size": 16,
            "max_length": 24,
            **knowledge,
        },
        "knowledge": {"kind": "sentence-tree"},
        "encoder": {"recipe": "dual-tower", "sizes": {"embed_dim": 8, "image": image, "text": text}, "init_std": 0.1},
        "train": {"steps": 2, "batch_size": 3, "lr": 0.01},
    }
    (folder / "run.yaml").write_text(json.dumps(run))
    return folder / "run.yaml"


def test_facts_reach_the_tower_and_the_search_shows_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(experiment(folder, graph="facts.tsv"))]) == 0
    said = capsys.readouterr().err
    assert "coverage of train: 3 of 3 texts (100%) name something with facts; 1.33 facts" in said
    assert "3 of 3 names of the graph are found" in said
    assert cli.main(["evaluate", "runs/owners", "--split", "test-swapped", "--json"]) == 0
    assert "text-to-image-recall@1" in json.loads(capsys.readouterr().out)
    assert cli.main(["search", "index", "pictures", "--model", "runs/owners"]) == 0
    capsys.readouterr()
    assert cli.main(["search", "query", "the wall of anna and boris"]) == 0
    facts = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fact: ")]
    assert facts == ["fact: anna: paints red", "fact: anna: likes < b > tea < / b >", "fact: boris: paints green"]
    model = open_model(Path("runs/owners"))
    assert model.facts("the wall") == ()
    (plain,) = model.system.system.encode_text(["the wall of anna"])
    assert abs(model.embed_text("the wall of anna") - plain.numpy()).max() > 1e-4, "the facts are read"
    assert abs(model.embed_text("the wall") - model.system.system.encode_text(["the wall"])[0].numpy()).max() < 1e-6


def test_descriptions_stand_in_the_language_of_the_text(folder: Path) -> None:
    data = CaptionedImages(
        name="captioned-images",
        train=folder / "train.jsonl",
        vocabulary=folder / "vocab.txt",
        pictures=folder / "pictures",
        descriptions=folder / "described.tsv",
        image_size=16,
        max_length=24,
    )
    prepared = retrieval(data, DataRequest(find("dual-tower"), knowledge=find_kind("sentence-tree"), facts="true"))
    texts = prepared.sources["train"]().texts
    vocabulary = (folder / "vocab.txt").read_text().split("\n")
    first = [vocabulary[number] for number in texts.columns["ids"][: texts.offsets[1]]]
    assert " ".join(first) == "[CLS] the wall of anna paints red walls [SEP]"
    assert "description" in prepared.fingerprints
    graph = read_descriptions(folder / "described.tsv")
    assert sorted(graph.words.languages) == ["de", "en"] and len(list(graph.about("anna@de"))) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "described.tsv is empty"),
        ("anna\ten\n", "line 1 should be a name, a language and a description, set apart by tabs; it is 'anna en'"),
    ],
)
def test_descriptions_that_cannot_be_read_are_refused(lines: str, message: str, folder: Path) -> None:
    (folder / "described.tsv").write_text(lines)
    with pytest.raises(UserError, match=message):
        read_descriptions(folder / "described.tsv")


def test_mistakes_end_in_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(experiment(folder, graph="facts.tsv", descriptions="described.tsv"))]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert cli.main(["train", str(experiment(folder))]) == 2
    assert "knowledge.kind is sentence-tree, but data.graph is null" in capsys.readouterr().err
    (folder / "facts.tsv").write_text("dora\tpaints\tred\n")
    assert cli.main(["train", str(experiment(folder, graph="facts.tsv"))]) == 2
    assert "none of the 3 texts of train has a fact at a name of" in capsys.readouterr().err
