"""Without its visible matrix a sentence tree is read by every word, wherever facts hang from names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mm_kptm.batch import Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.api import settings_of
from mm_kptm.experiment.build import build
from mm_kptm.experiment.coverage import measured_coverage
from mm_kptm.experiment.settings import KnowledgeSettings
from mm_kptm.nn.visibility import Branches, OpenBranches
from tests.small_towers import SIZES as TOWERS

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "capital", "of", "is", "spain", "peru", "madrid", "lima"]
SIZES = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 16, "dropout": 0.0}
BLANKS = {"name": "custom-text", "train": "blanks.jsonl", "vocabulary": "vocab.txt", "graph": "graph.tsv"}
WORLD = {"name": "number-world", "questions": 20, "eval_questions": 10}
FLAGS = {"name": "atlas-flags", "questions": 20, "eval_questions": 10, "territories": 16}


def experiment(task: str, data: dict[str, Any], recipe: str, visible: bool) -> dict[str, Any]:
    return {
        "name": "open",
        "task": task,
        "data": data,
        "knowledge": {"kind": "sentence-tree", "visible_matrix": visible},
        "encoder": {"recipe": recipe, "sizes": TOWERS.get(recipe, SIZES), "init_std": 0.2},
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = [("spain", "madrid"), ("peru", "lima")]
    Path("vocab.txt").write_text("\n".join(PIECES) + "\n")
    lines = [{"text": f"the capital of {one} is [MASK]", "answer": city} for one, city in facts]
    Path("blanks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("graph.tsv").write_text("".join(f"{one}\tcapital\t{city}\n" for one, city in facts))


@pytest.mark.parametrize(
    ("task", "data", "recipe"),
    [
        ("cloze", BLANKS, "bert-base"),
        ("cloze", WORLD, "bert-base"),
        ("knowledge-vqa", WORLD, "uniter-base"),
        ("knowledge-vqa", FLAGS, "uniter-base"),
        ("contrastive-retrieval", WORLD | {"captions": "owners"}, "dual-tower-regions"),
    ],
)
def test_every_dataset_with_facts_can_show_them_to_every_word(task: str, data: dict[str, Any], recipe: str) -> None:
    """The batches differ in the mask alone, and the same facts are counted."""
    counted = []
    for visible in (True, False):
        settings = settings_of(experiment(task, data, recipe, visible))
        built = build(settings)
        text = built.source("train").batch([0, 1], seeded(0)).inputs.text
        assert type(text.attention_mask) is (Branches if visible else OpenBranches)
        counted.append((text.ids.tolist(), text.positions.tolist(), measured_coverage(settings, built)))
    assert counted[0] == counted[1]


@torch.no_grad()
def test_every_word_reads_the_fact_in_one_layer_at_soft_positions() -> None:
    """The states are those of the same tokens at the same positions without any mask."""
    built = build(settings_of(experiment("cloze", BLANKS, "bert-base", visible=False)))
    inputs = built.source("train").batch([0, 1], seeded(0)).inputs
    text = inputs.text
    plain = Tokens(text.ids, text.layout, text.positions, text.segments)
    system = built.system.eval()
    torch.testing.assert_close(system(inputs).text, system(inputs.with_streams(text=plain)).text)
    hidden = build(settings_of(experiment("cloze", BLANKS, "bert-base", visible=True)))
    masked = hidden.source("train").batch([0, 1], seeded(0)).inputs
    assert not torch.allclose(system(inputs).text, system(masked).text)


@pytest.mark.parametrize("kind", ["none", "entity-fusion"])
def test_facts_that_hang_from_no_name_have_no_visible_matrix(kind: str) -> None:
    message = f"visible_matrix is false, but knowledge of kind {kind} hangs no facts from names; leave it true, or "
    with pytest.raises(UserError, match=message):
        KnowledgeSettings(kind, visible_matrix=False)  # type: ignore[arg-type]
