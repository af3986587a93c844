"""A model of two towers is opened and told apart by its weights."""

import pytest
import torch

import mm_kptm
from mm_kptm.errors import UserError
from mm_kptm.suites.search.model import fingerprint, open_model


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
