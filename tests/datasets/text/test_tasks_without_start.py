"""Tasks of XTREME with a tokenizer that puts nothing in front of a text, as T5's, SigLIP's and LASER's do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from mm_kptm.data.formats.conllu import ParsedSentence
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.tokenizer_json import TokenizerJson
from mm_kptm.datasets.pretraining.dependency_trees import parsed
from mm_kptm.experiment.build import build
from tests.datasets.text import test_xtreme as xtreme

PIECES = ["<pad>", "</s>", "<unk>", *xtreme.WORDS]
download = xtreme.download


def engine() -> Tokenizer:
    made = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(PIECES)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def batches(home: Path, name: str) -> dict[str, Any]:
    """All examples of every split; each is measured, and is finite."""
    engine().save(str(home / "t5.json"))
    asked = next(one for one in xtreme.runs(home) if one.data.name == name)
    built = build(replace(asked, data=replace(asked.data, vocabulary=home / "t5.json")))
    found = {}
    for split in built.prepared.sources:
        source = built.source(split)
        found[split] = source.batch(range(len(source)), seeded(0))
        with torch.no_grad():
            for values in built.model.measure(found[split]).values():
                assert torch.isfinite(values).all()
    return found


def pieces(ids: torch.Tensor) -> list[str]:
    return [PIECES[number] for number in ids.tolist()]


@pytest.mark.parametrize("name", ["xnli", "paws-x", "bucc", "tatoeba"])
def test_texts_begin_with_their_first_word(name: str, download: Path) -> None:
    for batch in batches(download, name).values():
        text = getattr(batch, "left", getattr(batch, "inputs", None) or batch).text
        assert all(part[0] != "<pad>" for part in map(pieces, text.layout.split(text.ids)))


@pytest.mark.parametrize("name", ["ud-pos", "pan-x"])
def test_a_tag_stands_at_its_word(name: str, download: Path) -> None:
    for batch in batches(download, name).values():
        assert pieces(batch.inputs.text.ids[batch.rows[:3]]) == ["w0", "w1", "w2"]
        assert "</s>" not in pieces(batch.inputs.text.ids[batch.rows])


@pytest.mark.parametrize("name", ["xquad", "mlqa", "tydiqa"])
def test_an_answer_stands_at_its_piece(name: str, download: Path) -> None:
    for batch in batches(download, name).values():
        text = batch.inputs.text
        assert pieces(text.ids)[:6] == ["w1", "</s>", "w1", "w2", "w3", "</s>"]
        assert len(batch.pieces) == len(text.ids)
        assert set(pieces(text.ids[text.layout.starts(text.ids.device) + batch.starts])) == {"w3"}


def test_a_governor_is_a_word_and_the_root_is_not_asked_about() -> None:
    sentence = ParsedSentence(("w1", "w2", "w3"), (2, 0, 2))
    source = parsed([sentence], TokenizerJson(engine()), 4)
    text = source.batch([0], seeded(0)).text
    assert pieces(text.ids) == ["w1", "w2", "w3", "</s>"]
    (label,) = text.token_labels.values()
    assert label.tolist() == [1, -1, 1, -1]
