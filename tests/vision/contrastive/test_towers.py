"""Two towers against open_clip's, and what they promise beside numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Images, Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses
from mm_kptm.vision.contrastive.preparation import ImagePreparation
from mm_kptm.vision.contrastive.published import architecture
from mm_kptm.vision.contrastive.text_towers import end_row, largest_row, last_row
from tests.small_towers import CLIP as SMALL
from tests.small_towers import SIZES, TEXT, VIT

CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {"vision_cfg": VIT, "text_cfg": TEXT},
    "vit-scaled": {
        "vision_cfg": {**VIT, "ls_init_value": 1e-4},
        "text_cfg": {**TEXT, "ls_init_value": 1e-3},
        "quick_gelu": True,
    },
    "vit-mean": {"vision_cfg": {**VIT, "pool_type": "avg", "final_ln_after_pool": True}, "text_cfg": TEXT},
    "resnet": {
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64, "head_width": 64},
        "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 7},
    },
    "timm": {
        "vision_cfg": {"timm_model_name": "convnext_atto", "timm_proj": "mlp", "image_size": 64},
        "text_cfg": {**TEXT, "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}},
    },
    "timm-map": {
        "vision_cfg": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True, "context_length": 9},
        "embed_dim": 96,
        "init_logit_bias": -10.0,
    },
}


def randomized(model: nn.Module) -> nn.Module:
    """Random values everywhere, running statistics included, so that no part may be left out."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.startswith("logit"):
            noise = torch.randn_like(tensor) * 0.05
            tensor.copy_(noise.abs() + 1 if name.endswith("running_var") else tensor + noise)
    return model.eval()


def texts(config: dict[str, Any], count: int = 4) -> Tensor:
    """Padded ids: words, then the end id, which is the largest, then zeros."""
    fields, generator = config["text_cfg"], torch.Generator().manual_seed(1)
    ids = torch.zeros(count, fields["context_length"], dtype=torch.long)
    end = fields.get("eos_id", fields["vocab_size"] - 1)
    for row, length in zip(ids, range(3, 3 + count), strict=True):
        row[:length] = torch.randint(8, 40, (length,), generator=generator)
        row[length] = end
    return ids


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_features_are_those_of_open_clip(name: str, tmp_path: Path) -> None:
    config = {"embed_dim": 12, **CONFIGS[name]}
    custom = "no_causal_mask" in config["text_cfg"] or name == "timm"
    theirs = randomized((CustomTextCLIP if custom else CLIP)(**config))
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    system = mm_kptm.load("open-clip", tmp_path)
    size = config["vision_cfg"]["image_size"]
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(system.encoder.embed_images(pixels), theirs.encode_image(pixels), atol=1e-6, rtol=1e-5)
    ids = texts(config)
    cut = Tokens.of([row[: int((row != 0).sum())].tolist() for row in ids])
    ours = system.encoder.embed_text(Inputs(text=cut))
    torch.testing.assert_close(ours, theirs.encode_text(ids), atol=1e-6, rtol=1e-5)
    mm_kptm.save(system, tmp_path / "saved")
    again = mm_kptm.load(str(tmp_path / "saved"))
    assert torch.equal(again.encoder.embed_images(pixels), system.encoder.embed_images(pixels))


@torch.no_grad()
def test_gradients_are_those_of_open_clip(tmp_path: Path) -> None:
    config = {"embed_dim": 12, **CONFIGS["vit"]}
    theirs = randomized(CLIP(**config))
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "weights.safetensors")
    system = mm_kptm.load("open-clip", tmp_path / "weights.safetensors", architecture="", **small(config))
    ids, pixels = texts(config), torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.enable_grad():
        image, text, scale = theirs(pixels, ids)
        open_clip.loss.ClipLoss()(image, text, scale).backward()
        inputs = Inputs(text=Tokens.padded(ids, ids != 0))
        vectors = system.encoder.embed_images(pixels), system.encoder.embed_text(inputs)
        contrast_losses(*vectors, system.encoder.similarity.scale()).mean().backward()
    sides = (
        (system.encoder.text.encoder.embed.text.word, theirs.token_embedding),
        (system.encoder.image.conv1, theirs.visual.conv1),
    )
    for ours, expected in sides:
        torch.testing.assert_close(ours.weight.grad, expected.weight.grad, atol=1e-5, rtol=1e-5)


def small(config: dict[str, Any]) -> dict[str, Any]:
    return {"embed_dim": config["embed_dim"], "vision": config["vision_cfg"], "text": config["text_cfg"]}


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("size", [(40, 30), (31, 57), (20, 20), (9, 300)])
def test_pictures_are_prepared_as_in_open_clip(mode: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    theirs = open_clip.image_transform(24, is_train=False, resize_mode=mode, interpolation="bicubic")(picture)
    torch.testing.assert_close(ImagePreparation(24, resize_mode=mode)([picture])[0], theirs, atol=1e-6, rtol=1e-6)


def test_every_named_recipe_is_the_published_architecture() -> None:
    for name, recipe in mm_kptm.catalogue().items():
        if recipe.family == "clip":
            fields = architecture(recipe.published_sizes()["architecture"])
            assert fields["quick_gelu"], name
    assert architecture("ViT-L-14")["vision"]["width"] == 1024
    with pytest.raises(UserError, match=r"open_clip has no architecture 'ViT-B-33'; .*ViT-B-32"):
        mm_kptm.build("open-clip", architecture="ViT-B-33")


def test_a_word_behind_the_end_changes_nothing() -> None:
    """A causal tower reads nothing behind the row that stands for a text, so padding may be anything."""
    system = mm_kptm.build("clip", seed=0, **SMALL)
    short, long = Inputs(text=Tokens.of([[5, 6, 49]])), Inputs(text=Tokens.of([[5, 6, 49, 0, 3, 0]]))
    torch.testing.assert_close(system.encoder.embed_text(short), system.encoder.embed_text(long))


def test_the_row_of_a_text() -> None:
    tokens = Tokens.of([[1, 9, 3, 9], [4, 2], [7, 3, 5]])
    assert largest_row(tokens).tolist() == [1, 4, 6]
    assert end_row(tokens, end=3).tolist() == [2, 4, 7]
    assert last_row(tokens).tolist() == [3, 5, 8]


@pytest.mark.parametrize("frozen", ["image", "text"])
def test_a_frozen_tower_is_not_trained(frozen: str) -> None:
    system = mm_kptm.build("clip", seed=0, **SMALL, frozen=frozen).train()
    tower = system.encoder
    assert not any(one.training for one in tower.get_submodule(frozen).modules())
    inputs = Inputs(text=Tokens.of([[5, 49], [7, 49]]), images=Images(pixels=torch.rand(2, 3, 16, 16)))
    tower.scores(tower.embed_images(inputs.images.pixels), tower.embed_text(inputs)).diagonal().sum().backward()
    other = {"image": "text", "text": "image"}[frozen]
    assert all(one.grad is None for one in tower.get_submodule(frozen).parameters())
    assert any(one.grad is not None for one in tower.get_submodule(other).parameters())
    with pytest.raises(UserError, match="frozen is 'both', but must be one of none, image, text"):
        mm_kptm.build("clip", **SMALL, frozen="both")


def test_the_scale_stays_below_a_hundred_in_training() -> None:
    similarity = mm_kptm.build("clip", **SMALL, logit_scale=9.0).train().encoder.similarity
    torch.testing.assert_close(similarity.scale().detach(), torch.tensor(100.0))


@pytest.mark.parametrize("family", ["clip", "align", "altclip"])
def test_towers_are_a_system_like_any_other(family: str) -> None:
    system: System = mm_kptm.build(family, seed=0, **SIZES[family])
    inputs = Inputs(text=Tokens.of([[5, 6, 49], [7, 49]]), images=Images(pixels=torch.rand(3, 3, 16, 16)))
    encoded = system(inputs)
    assert encoded.pooled.shape == (2, system.dim)
    assert encoded["images"].shape == (3, system.dim)
    assert len(encoded.text) == 5
    assert system(inputs, POOLED_ONLY).states == {}
    with pytest.raises(UserError, match="two towers read text or images, but the inputs have neither"):
        system(Inputs())
    pictures = [Image.new("RGB", (20, 30)), Image.new("L", (9, 9), 200)]
    assert system.encode_images(pictures).shape == (2, system.dim)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vision": {**VIT, "depth": 3}}, r"^the image tower is a vision transformer, which has no depth=3"),
        ({"vision": {"timm_model_name": "resnet5"}}, r"^timm has no backbone 'resnet5'"),
        ({"vision": {**VIT, "head_width": 7}}, r"the width must be a multiple of head_width"),
        ({"vision": {**VIT, "attentional_pool": True}}, r"has no attentional_pool=True"),
        ({"text": {**TEXT, "pool_type": "none"}}, r"^pool_type is 'none', but a text tower knows argmax, eos"),
        ({"text": {**TEXT, "embed_cls": True}}, r"^the text tower has no embed_cls=True"),
        ({"text": {"hf_model_name": "google/mt5-base"}}, r"'google/mt5-base' of the hub, which is not built here"),
        ({"text": {"recipe": "lxmert", "sizes": {}, "pooling": "middle"}}, r"pooled by pooled or first, mean"),
        ({"text": {"recipe": "bert-base", "projection": "cubic"}}, r"is linear or mlp, not 'cubic'"),
    ],
)
def test_what_cannot_be_built_is_said(sizes: dict[str, Any], message: str) -> None:
    bert = {"num_layers": 1, "dim": 8, "num_heads": 1, "ffn_dim": 8, "vocab_size": 9}
    if "recipe" in sizes.get("text", {}):
        sizes = {"text": {**sizes["text"], "recipe": "bert-base", "sizes": bert}}
    with pytest.raises(UserError, match=message):
        mm_kptm.build("clip", **{**SMALL, **sizes})


def test_pictures_of_another_size_are_refused() -> None:
    system = mm_kptm.build("clip", **SMALL)
    with pytest.raises(UserError, match=r"of shape \[3, 8, 8\] were given, but the image tower reads \[3, 16, 16\]"):
        system.encoder.embed_images(torch.rand(1, 3, 8, 8))
