"""``layer_norm_eps`` of a published configuration reaches every norm of an encoder and of its heads."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
import transformers as hf
from torch import nn

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.norm_eps import set_norm_eps, takes_norm_eps

RECIPES = {
    recipe.family: recipe for recipe in reversed(mm_kptm.catalogue().values()) if "norm_eps" in recipe.published_sizes()
}
OWN = {"oscar-plus"}  #: has an eps of regions beside it
IDS = [5, 7, 9, 11]


def eps_of(module: nn.Module) -> set[float]:
    return {part.eps for part in module.modules() if isinstance(part, nn.LayerNorm | nn.RMSNorm)}


@pytest.mark.parametrize("family", sorted(RECIPES))
def test_every_norm_of_a_system_has_the_eps_that_was_asked_for(family):
    recipe = RECIPES[family]
    published = recipe.published_sizes()["norm_eps"]
    with torch.device("meta"):
        heads = {name: {} for name in recipe.default_heads}
        plain = mm_kptm.build(recipe.name, heads=heads)
        other = mm_kptm.build(recipe.name, heads=heads, norm_eps=3e-4)
    assert published in eps_of(plain) and 3e-4 not in eps_of(plain)
    assert 3e-4 in eps_of(other.encoder)
    if published == 1e-12 and family not in OWN:
        assert eps_of(other) == (eps_of(plain) - {published}) | {3e-4}


def fields_of(recipe) -> set[str]:
    return {theirs for theirs, ours in recipe.config_keys.items() if ours == "norm_eps"}


def test_recipes_that_read_configurations_of_bert_read_its_eps():
    """All but the three whose released code has a number in its place."""
    deaf = {"lxmert-base", "knowbert-wiki", "kbert-base"}
    for family in (
        "uniter",
        "spanbert",
        "sensebert",
        "ernie-thu",
        "zen",
        "pixel-bert",
        "vilbert",
        "vlp",
        "dual-bert",
        "volta-vilbert",
    ):
        recipe = next(one for one in mm_kptm.catalogue().values() if family in (one.name, one.family.replace("_", "-")))
        assert recipe.configured_sizes({"layer_norm_eps": 1e-5}).get("norm_eps") == 1e-5, family
    for name in deaf:
        with pytest.raises(UserError, match="layer_norm_eps"):
            config = {"layer_norm_eps": 1e-5}
            mm_kptm.catalogue()[name].configured_sizes({"bert_config": config} if name.startswith("know") else config)


@torch.no_grad()
def test_texts_of_uniter_are_those_of_transformers_with_another_eps(tmp_path):
    """Alone with text, UNITER is BERT; a large eps shows in every state."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = hf.BertConfig(**sizes, vocab_size=30, max_position_embeddings=20, layer_norm_eps=0.3)
    torch.manual_seed(0)
    theirs = hf.BertModel(config).eval()
    ours = mm_kptm.build(
        "uniter-base", heads=(), dim=16, num_layers=2, num_heads=2, ffn_dim=24, vocab_size=30, max_positions=20,
        region_dim=8, norm_eps=0.3,
    )  # fmt: skip
    named = {f"bert.{name}": tensor for name, tensor in theirs.state_dict().items()}
    renamed = {
        name.replace("bert.embeddings", "uniter.embeddings").replace("bert.", "uniter."): tensor
        for name, tensor in named.items()
        if "position_ids" not in name
    }
    mine = {name: parameter for name, parameter in ours.named_parameters() if ".regions." in name}
    assert mine, "the parts for regions stay as they are"
    torch.save(renamed, tmp_path / "bert.pt")
    (tmp_path / "config.json").write_text(json.dumps({**config.to_dict(), "model_type": None, "architectures": None}))
    loaded = mm_kptm.load(
        "uniter-base", tmp_path / "bert.pt", heads=(), region_dim=8, norm_eps=0.3, fresh=["encoder.embed.regions"],
        num_heads=2, num_layers=2, ffn_dim=24, dim=16, max_positions=20, vocab_size=30,
    )  # fmt: skip
    states = loaded(Inputs(text=Tokens.of([IDS]))).text
    expected = theirs(torch.tensor([IDS])).last_hidden_state[0]
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_a_builder_says_that_it_takes_the_size():
    def build(*, dim: int = 4) -> nn.Module:
        return nn.Sequential(nn.LayerNorm(dim, eps=1e-12), nn.LayerNorm(dim, eps=0.5))

    built = takes_norm_eps(build)
    assert inspect.signature(built).parameters["norm_eps"].default == 1e-12
    assert eps_of(built(dim=3, norm_eps=0.25)) == {0.25, 0.5} and eps_of(built()) == {1e-12, 0.5}
    module = build()
    set_norm_eps(module, 0.1, published=0.5)
    assert eps_of(module) == {1e-12, 0.1}
