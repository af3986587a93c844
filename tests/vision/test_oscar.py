"""Oscar and Oscar+: what they read of a region, and what they can be loaded from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.pretrained import translated
from mm_kptm.vision.modules.single_stream.concatenated_pairs import ConcatenatedPairs
from mm_kptm.vision.modules.single_stream.region_projection import BoxedFeatureEmbedding
from tests.vision.conftest import REGION_DIM, regions_of

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "oscar"


def changed(case: str, folder: Path, **fields: Any) -> Path:
    """The folder of a golden case with some fields of its configuration changed."""
    config = json.loads((GOLDEN / case / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "weights.safetensors").write_bytes((GOLDEN / case / "weights.safetensors").read_bytes())
    return folder


def test_a_region_is_its_feature_and_six_numbers_of_its_box() -> None:
    """x1, y1, x2, y2, width and height stand behind the feature, as in the published files."""
    embed = BoxedFeatureEmbedding(REGION_DIM, 6, norm=nn.Identity(), dropout=0.0)
    nn.init.zeros_(embed.feature.weight)
    embed.feature.weight.data[:, REGION_DIM:] = torch.eye(6)
    nn.init.zeros_(embed.feature.bias)
    regions = replace(regions_of(1), boxes=torch.tensor([[0.25, 0.125, 0.75, 1.0]]))
    torch.testing.assert_close(embed(regions), torch.tensor([[0.25, 0.125, 0.75, 1.0, 0.5, 0.875]]))


def test_pixels_are_refused() -> None:
    embed = BoxedFeatureEmbedding(REGION_DIM, 6, norm=nn.Identity())
    regions = regions_of(2)
    with pytest.raises(UserError, match="boxes are x1 y1 x2 y2 as fractions of the image, but one has a coordinate"):
        embed(replace(regions, boxes=regions.boxes * 640))
    with pytest.raises(UserError, match="the model reads region features of 12 numbers, but these have 5"):
        embed(replace(regions, features=regions.features[:, :5]))


@pytest.mark.parametrize(
    ("name", "dim", "bert", "norm"),
    [
        ("oscar-base", 768, 109_482_240, 0),
        ("oscar-large", 1024, 335_141_888, 0),
        ("oscar-plus-base", 768, 109_482_240, 2 * 768),
        ("oscar-plus-large", 1024, 335_141_888, 2 * 1024),
    ],
)
def test_published_sizes_are_a_bert_and_one_projection(name: str, dim: int, bert: int, norm: int) -> None:
    recipe = mm_kptm.catalogue()[name]
    with torch.device("meta"):
        encoder = recipe.build(**recipe.published_sizes())
    assert sum(parameter.numel() for parameter in encoder.parameters()) == bert + (2054 + 1) * dim + norm


def test_every_published_key_is_placed() -> None:
    for folder in sorted(GOLDEN.iterdir()):
        config = json.loads((folder / "config.json").read_text())
        name = "oscar-plus" if config.get("use_img_layernorm") else "oscar"
        translation = translated(name, folder)
        assert translation.strangers == []
        assert set(translation.left) <= {"cls.predictions.decoder.weight"}


def test_the_width_of_the_feature_is_told_without_its_box(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes((GOLDEN / "vqa" / "weights.safetensors").read_bytes())
    config = json.loads((GOLDEN / "vqa" / "config.json").read_text())
    del config["img_feature_dim"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    system = mm_kptm.load("oscar", tmp_path, heads={"vqa": {"num_answers": 15}})
    assert system.sizes["region_dim"] == 20


def test_the_norm_of_oscar_plus_has_the_eps_of_the_configuration(tmp_path: Path) -> None:
    folder = changed("nlvr2_plus", tmp_path, img_layer_norm_eps=1e-3, layer_norm_eps=1e-5)
    system = mm_kptm.load("oscar-plus", folder, heads={"nlvr2": {"inner_scale": 2}})
    assert system.encoder.embed.regions.norm.eps == 1e-3
    eps = {module.eps for name, module in system.named_modules() if isinstance(module, nn.LayerNorm)}
    assert eps == {1e-3, 1e-5}
    assert system.head("nlvr2").norm.eps == 1e-5


@pytest.mark.parametrize(
    ("name", "case", "fields", "message"),
    [
        (
            "oscar",
            "pretrain_plus",
            {},
            "the configuration sets use_img_layernorm, so it is Oscar+'s, whose checkpoints have other parts; name the "
            "system oscar-plus-base or oscar-plus-large",
        ),
        ("oscar-plus", "pretrain", {}, "the configuration does not set use_img_layernorm, so it is Oscar's"),
        ("oscar", "vqa", {"img_feature_type": "dis_code"}, "sets img_feature_type to 'dis_code', but oscar embeds"),
        ("oscar", "vqa", {"classifier": "conv"}, "sets classifier to 'conv', but the heads of oscar are 'linear'"),
    ],
)
def test_what_is_not_built_is_refused(
    name: str, case: str, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        mm_kptm.load(name, changed(case, tmp_path, **fields))


def test_a_checkpoint_of_the_other_one_is_refused_without_a_configuration() -> None:
    with pytest.raises(UnmappedKeys, match=r"no rule for published keys: bert\.LayerNorm\.bias"):
        mm_kptm.load("oscar", GOLDEN / "pretrain_plus" / "weights.safetensors")


def test_the_released_oscar_plus_is_built_with_three_classes() -> None:
    loaded = mm_kptm.load("oscar-plus", GOLDEN / "pretrain_plus")
    assert loaded.head("tag-contrast").out_features == 3
    assert mm_kptm.load("oscar", GOLDEN / "pretrain").head("tag-contrast").out_features == 2


def test_two_images_need_an_even_number_of_readings(inputs: Inputs) -> None:
    head = ConcatenatedPairs(16, 32, norm=nn.Identity())
    rows = torch.randn(4, 16)
    torch.testing.assert_close(head(rows)[1], head(rows[2:])[0])
    with pytest.raises(UserError, match="two images a text need an even number of sequences, but there are 3"):
        head(rows[:3])
