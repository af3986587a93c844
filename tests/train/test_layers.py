"""Depth of parameters, and learning rates that follow from it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, TrainSettings
from mm_kptm.train.layers import layers_of, parameter_depths
from mm_kptm.train.optim import lr_scales, optimizer_for, set_lr
from tests.train.test_loop import run, same
from tests.train.toy import Deep

FAMILIES = {recipe.family: recipe.name for recipe in reversed(mm_kptm.catalogue().values())}


def built(name: str) -> nn.Module:
    with torch.device("meta"):
        return mm_kptm.build(name)


def depths(model: nn.Module) -> dict[str, int]:
    of = parameter_depths(model).of
    return {name: of[parameter] for name, parameter in model.named_parameters()}


def test_layers_of_bert_have_the_rates_of_the_formula():
    """Written out: embeddings 0.5^13, layer 1 0.5^12, ..., layer 12 0.5, pooler and heads 1."""
    model = mm_kptm.build("bert-base", dim=4, num_heads=2, ffn_dim=8, vocab_size=9)
    settings = TrainSettings(lr=0.01, layer_decay=0.5)
    optimizer = optimizer_for(model, settings)
    set_lr(optimizer, settings.lr)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rates.keys() == set(names.values())
    for name, rate in rates.items():
        if name.startswith("encoder.embed."):
            assert rate == pytest.approx(0.01 * 0.5**13), name
        elif name.startswith("encoder.layers."):
            layer = int(name.split(".")[2]) + 1
            assert rate == pytest.approx(0.01 * 0.5 ** (13 - layer)), name
        else:
            assert rate == 0.01, name
    assert rates["encoder.layers.11.ffn.up_proj.weight"] == 0.005
    assert rates["encoder.pooler.dense.weight"] == rates["heads.next-sentence.weight"] == 0.01
    decayed = {names[p] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {name for name, parameter in model.named_parameters() if parameter.ndim > 1}


def test_heads_may_have_a_rate_of_their_own():
    model = mm_kptm.build("bert-base", dim=4, num_heads=2, ffn_dim=8, vocab_size=9)
    optimizer = optimizer_for(model, TrainSettings(lr=0.01, head_lr=0.05))
    set_lr(optimizer, 0.005)  # half of the peak
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rates[model.encoder.pooler.dense.weight] == pytest.approx(0.025)
    assert rates[model.encoder.layers[11].ffn.up_proj.weight] == rates[model.encoder.embed.text.word.weight] == 0.005


def test_without_them_every_rate_is_that_of_the_schedule():
    model = Deep()
    assert set(lr_scales(model, TrainSettings()).values()) == {1.0}
    assert len(optimizer_for(model, TrainSettings()).param_groups) == 2


def test_two_streams_count_the_deeper_of_what_a_step_reads():
    found = depths(built("lxmert-base"))
    assert found["encoder.embed.regions.box.weight"] == 0
    assert [found[f"encoder.steps.text-{at}.left.ffn.norm.weight"] for at in (0, 8)] == [1, 9]
    assert [found[f"encoder.steps.regions-{at}.right.ffn.norm.weight"] for at in (0, 4)] == [1, 5]
    assert found["encoder.steps.cross-0.left.norm.weight"] == 10
    assert found["encoder.steps.after-4.left.ffn.norm.weight"] == 19
    assert found["encoder.pooler.dense.weight"] == 20


def test_a_decoder_stands_on_its_encoder():
    found = depths(built("xlm-mt"))
    assert found["encoder.source.layers.5.ffn.norm.weight"] == 6
    assert found["encoder.target.layers.0.ffn.norm.weight"] == 7
    assert found["encoder.target.embed.word.weight"] == found["encoder.source.embed.text.word.weight"] == 0


def test_towers_stand_side_by_side():
    model = nn.ModuleDict({"images": built("bert-base").encoder, "texts": built("bert-base").encoder})
    found = depths(model)
    assert found["images.layers.0.ffn.norm.weight"] == found["texts.layers.0.ffn.norm.weight"] == 1
    assert found["texts.embed.text.word.weight"] == 0 and found["texts.pooler.dense.weight"] == 13


def test_what_knowledge_adds_beside_the_layers_counts_as_heads():
    for name, part in (("ernie-thu-base", "fusions"), ("knowbert-wiki", "kars"), ("zen-base", "ngram_layers")):
        model = built(name)
        found = parameter_depths(model)
        beside = {found.of[p] for where, p in model.named_parameters() if where.startswith(f"encoder.{part}.")}
        assert found.heads == 13 and beside == {13}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_system_has_embeddings_below_and_heads_above_its_layers(family):
    model = built(FAMILIES[family])
    found = parameter_depths(model)
    named = depths(model)
    if not layers_of(model):  # of convolutions or recurrent
        assert set(named.values()) == {1}
        with pytest.raises(
            UserError, match=r"^train\.layer_decay is 0\.9, but this encoder has no layers of attention"
        ):
            lr_scales(model, TrainSettings(layer_decay=0.9))
        return
    assert found.heads > 1 and set(named.values()) >= set(range(found.heads))
    words = [name for name in named if name.startswith("encoder.") and name.endswith(".word.weight")]
    assert all(named[name] == 0 for name in words if "ngram" not in name)
    assert all(depth == found.heads for name, depth in named.items() if name.startswith("heads."))
    assert all(depth == found.heads for name, depth in named.items() if ".pooler." in name)
    inside = {parameter for layer in layers_of(model) for parameter in layer.parameters()}
    assert all(found.of[parameter] > 0 for parameter in inside)


def test_frozen_layers_stay_out_of_the_groups():
    model = Deep()
    model.layers[0].requires_grad_(False)
    optimizer = optimizer_for(model, TrainSettings(layer_decay=0.9))
    trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    assert trained == set(model.parameters()) - set(model.layers[0].parameters())


def test_a_run_with_layer_decay_resumes_where_it_stopped(tmp_path):
    whole, _ = run(tmp_path / "whole", model=Deep(), layer_decay=0.7, head_lr=0.02, save_every=5)
    run(tmp_path / "parts", model=Deep(), layer_decay=0.7, head_lr=0.02, save_every=5)
    checkpoints = Checkpoints(tmp_path / "parts")
    checkpoints.point("latest", checkpoints.named("10"))
    rest, _ = run(tmp_path / "parts", model=Deep(), layer_decay=0.7, head_lr=0.02, save_every=5, resume=True)
    same(rest, whole)
    plain, _ = run(tmp_path / "plain", model=Deep())
    moved = [
        (model.layers[0].ffn.up_proj.weight - Deep().layers[0].ffn.up_proj.weight).norm() for model in (whole, plain)
    ]
    assert moved[0] < 0.7 * moved[1], "the lowest layer moves less"


@pytest.mark.parametrize("value", [1.5, 0.0])
def test_a_layer_decay_out_of_range_is_refused(value):
    with pytest.raises(UserError, match=f"^train.layer_decay is {value} but must "):
        TrainSettings(layer_decay=value)
