"""Taggers and classifiers of transformers go through a run and back, with the labels of the data in any order."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from mm_kptm.cli import main

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "bob", "sees", "rome", "in", "sleeps"]
TAGS = {0: "O", 1: "B-LOC", 2: "B-PER"}
SENTENCES = [("ann sees rome", "B-PER O B-LOC"), ("bob sleeps in rome", "B-PER O O B-LOC"), ("bob sees ann", "O O O")]
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
}
FILE = """name: opened
task: {task}
data: {{name: custom-text, train: data.jsonl, test: data.jsonl, vocabulary: vocab.txt, languages: [en]}}
encoder: {{recipe: {recipe}, weights: theirs}}
train: {{steps: {steps}, batch_size: 3, lr: 1e-3}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
    return tmp_path


def drawn(model: Any, folder: Path) -> Any:
    for number, parameter in enumerate(model.parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(number))
    model.eval().save_pretrained(folder / "theirs")
    return model


def ids(text: str) -> torch.Tensor:
    return torch.tensor([[2, *(WORDS.index(word) for word in text.split()), 3]])


def run(folder: Path, *, recipe: str, task: str, rows: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "opened.yaml").write_text(FILE.format(recipe=recipe, task=task, steps=steps), "utf-8")
    assert main(["train", "opened.yaml"]) == 0
    assert main(["evaluate", "runs/opened"]) == 0
    lines = (folder / "runs" / "opened" / "predictions" / "test.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("recipe", "config"), [("bert-base", hf.BertConfig), ("xlm-r-base", hf.XLMRobertaConfig)])
def test_a_tagger_answers_as_it_does_in_transformers(recipe: str, config: Any, folder: Path) -> None:
    """Its labels have another order than the tags of the data, which stand in that of their first sentence."""
    model = drawn(hf.AutoModelForTokenClassification.from_config(config(**SIZES, id2label=TAGS)), folder)
    rows = [{"id": str(n), "words": text.split(), "tags": tags.split()} for n, (text, tags) in enumerate(SENTENCES)]
    found = run(folder, recipe=recipe, task="named-entities", rows=rows, steps=0)
    for row, (text, _) in zip(found, SENTENCES, strict=True):
        with torch.no_grad():
            best = model(ids(text)).logits[0, 1:-1].argmax(1).tolist()
        assert row["answer"] == " ".join(TAGS[number] for number in best)
    saved = hf.AutoModelForTokenClassification.from_pretrained(folder / "runs" / "opened" / "model").eval()
    with torch.no_grad():
        theirs, ours = (one(ids("ann sees bob")).logits[0] for one in (model, saved))
    order = [list(TAGS.values()).index(saved.config.id2label[number]) for number in range(3)]
    torch.testing.assert_close(ours, theirs[:, order], atol=1e-5, rtol=0)


def test_a_trained_classifier_opens_in_transformers(folder: Path) -> None:
    model = hf.AutoModelForSequenceClassification.from_config(
        hf.XLMRobertaConfig(**SIZES, id2label={0: "POS", 1: "NEG"})
    )
    drawn(model, folder)
    rows = [
        {"id": str(n), "text": text, "label": ("neg", "pos")[n % 2], "language": "en"}
        for n, (text, _) in enumerate(SENTENCES)
    ]
    found = run(folder, recipe="xlm-r-base", task="sentence-classification", rows=rows, steps=2)
    saved = hf.AutoModelForSequenceClassification.from_pretrained(folder / "runs" / "opened" / "model").eval()
    assert saved.config.id2label == {0: "neg", 1: "pos"}
    with torch.no_grad():
        given = [saved.config.id2label[int(saved(ids(text)).logits[0].argmax())] for text, _ in SENTENCES]
    assert given == [row["answer"] for row in found]
