"""A model of two towers is opened and told apart by its weights."""

from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.suites.search.model import fingerprint, open_model
from mm_kptm.systems.text_tokenizer import TextTokenizer
from tests.suites.search.towers import paint


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--model is .*nowhere, but that is no folder of a trained run"):
        open_model(tmp_path / "nowhere")
    (tmp_path / "config.yaml").write_text("name: x")
    with pytest.raises(UserError, match=r"has no model yet; let `mm-kptm train --resume .*` finish"):
        open_model(tmp_path)


def test_one_tower_is_not_enough(tmp_path):
    sizes = {"num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 8, "vocab_size": 20}
    mm_kptm.save(mm_kptm.build("bert-base", heads=[], **sizes), tmp_path / "bert")
    with pytest.raises(UserError, match=r"holds bert-base, which embeds no texts and pictures into one space"):
        open_model(tmp_path / "bert")


def test_any_change_of_the_weights_shows():
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    first = fingerprint(layer, {"sizes": 1})
    assert fingerprint(layer, {"sizes": 1}) == first != fingerprint(layer, {"sizes": 2})
    layer[1].num_batches_tracked += 1
    assert fingerprint(layer, {"sizes": 1}) != first
    layer[1].num_batches_tracked -= 1
    layer[0].weight.data[0, 0] += 1e-7
    assert fingerprint(layer, {"sizes": 1}) != first
    assert fingerprint(layer.to(torch.bfloat16), {"sizes": 1}) != first


def test_real_towers_are_indexed_and_searched(tmp_path, monkeypatch, capsys):
    """Random weights: what is nearest means nothing, but the same picture is nearest to itself, and texts are read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "red", "rot"]))
    text = {"recipe": "bert-base", "num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 16, "max_positions": 80}
    image = {"layers": 1, "width": 8, "head_width": 4, "patch_size": 4, "mlp_ratio": 2.0}
    for name, seed in (("towers", 0), ("others", 1)):
        towers = mm_kptm.build("dual-tower", embed_dim=8, image=image, text=text, image_size=8, vocab_size=7, seed=seed)
        towers.tokenizer = TextTokenizer(Path("vocab.txt"), max_length=16, vocab_size=7)
        mm_kptm.save(towers, name)
    for number in range(5):
        paint(tmp_path / f"pictures/{number}.png", (number * 50, 90, 200 - number * 40), (30, 20))
    assert cli.main(["search", "index", "pictures", "--model", "towers"]) == 0, capsys.readouterr().err
    assert cli.main(["search", "query", "--image", "pictures/3.png", "-k", "1"]) == 0
    assert cli.main(["search", "query", "rot", "-k", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-6] == "+1.0000  3.png"
    assert sorted(line.split()[1] for line in lines[-5:]) == [f"{number}.png" for number in range(5)]
    assert cli.main(["search", "query", "rot", "--model", "others"]) == 2
    assert "not with others; search with the model that made it" in capsys.readouterr().err
