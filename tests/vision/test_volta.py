"""VOLTA's models: sizes, checkpoints whose keys repeat each other, VL-BERT's last region, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.errors import UserError
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.pretrained import translated
from tests.vision.small import EMBEDDINGS, small_volta, three_texts

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "volta"


def changed(embedding: str, folder: Path, weights: dict[str, torch.Tensor] | None = None, **fields: Any) -> Path:
    """The checkpoint of a model with other weights and other fields in its configuration."""
    case = GOLDEN / f"ctrl_{embedding}"
    state = load_file(case / "weights.safetensors") | (weights or {})
    save_file({name: x.contiguous() for name, x in state.items()}, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps(json.loads((case / "config.json").read_text()) | fields))
    return folder


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_every_published_key_is_placed(embedding: str) -> None:
    translation = translated(f"volta-{embedding}", GOLDEN / f"ctrl_{embedding}")
    assert translation.strangers == []
    assert set(translation.left) <= {
        "cls.predictions.decoder.weight",
        "bert.embeddings.image_token_type_embeddings.weight",
    }


def test_the_controlled_models_are_alike_in_size() -> None:
    """Weights of a layer of BERT, times how many each has; the joined models have the fewest."""
    feed = 768 * 3072 + 3072 + 3072 * 768 + 768 + 2 * 768
    layer = 4 * (768 * 768 + 768) + 2 * 768 + feed
    layers = {"uniter": 12, "visualbert": 12, "vl-bert": 12, "lxmert": 9 + 5 + 2 * 5, "vilbert": 6 + 4 * 6}
    for embedding, count in layers.items():
        recipe = mm_kptm.catalogue()[f"volta-{embedding}"]
        with torch.device("meta"):
            encoder = recipe.build(**recipe.published_sizes())
        extra = 5 * (layer - feed) if embedding == "lxmert" else 0  # one attention for both directions
        assert sum(x.numel() for x in encoder.steps.parameters()) == count * layer + extra, embedding


def test_what_is_shared_is_one_parameter_and_must_be_one_in_the_file(tmp_path: Path) -> None:
    name = "bert.encoder.layer.2.attention_self.v_query.bias"
    weights = load_file(GOLDEN / "ctrl_uniter" / "weights.safetensors")
    system = mm_kptm.load("volta-uniter", GOLDEN / "ctrl_uniter", heads=[])
    first = system.encoder.steps["2"]
    assert first.left is first.right
    assert torch.equal(first.left.attention.query.bias, weights[name])
    folder = changed("uniter", tmp_path, {name: weights[name] + 1})
    with pytest.raises(UserError, match=r"steps\.2\.right\.attention\.query\.bias and .*\.left\..* are one parameter"):
        mm_kptm.load("volta-uniter", folder, heads=[])


def test_a_file_without_the_second_names_of_shared_parts_loads(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "ctrl_uniter" / "weights.safetensors")
    kept = {name: x for name, x in weights.items() if not (".encoder." in name and ".v_" in name)}
    save_file(kept, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text((GOLDEN / "ctrl_uniter" / "config.json").read_text())
    ours, theirs = (mm_kptm.load("volta-uniter", f, heads=[]) for f in (tmp_path, GOLDEN / "ctrl_uniter"))
    assert all(torch.equal(x, y) for x, y in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"image_embeddings": "lxmert"},
            "has image_embeddings lxmert, but volta-vilbert was asked for; load it as",
        ),
        ({"image_embeddings": "m3p"}, "asks for image_embeddings m3p, which is not built; there are vilbert, lxmert"),
        ({"add_global_imgfeat": "last"}, "asks for add_global_imgfeat last, which is not built"),
        ({"add_global_imgfeat": None}, "asks for add_global_imgfeat None, which is not built"),
        (
            {"fusion_method": "vl-bert_vqa"},
            "asks for fusion_method vl-bert_vqa, which is not built; there are",
        ),
        ({"fusion_method": "none"}, "asks for fusion_method none, which is not built"),
        ({"v_pooler_size": 21}, "asks for v_pooler_size 21 beside pooler_size 20, which is not built"),
        (
            {"bert_model": "roberta-base"},
            r"asks for a text stream of RoBERTa \(model, bert_model\), which is",
        ),
        ({"qa_task_weight": 1.0}, "asks for qa_task_weight 1.0, which is not built; fine-tune the head vqa"),
        ({"fixed_layers": [0]}, r"asks for fixed_layers \[0\], which is not built; leave these layers out"),
        ({"num_locs": 6}, "a box is read as 4, 5 or 7 numbers, not as 6"),
        (
            {"shared_sublayers": [2], "v_hidden_size": 12, "v_num_attention_heads": 4},
            "in sub-layer 2 text and regions",
        ),
        ({"sublayer2attn_hidden_size": {"30": 8}}, "sizes for sub-layer 30, but the schedule has sub-layers 0 to 9"),
        ({"sublayer2attn_hidden_size": {"2": 8}}, "that of text has 8 and 4, that of regions 24 and 4"),
    ],
)
def test_a_configuration_that_asks_for_what_is_not_built_is_refused(
    fields: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        mm_kptm.load("volta-vilbert", changed("vilbert", tmp_path, **fields), heads=[])


def test_embeddings_and_sizes_that_fit_no_model_are_refused() -> None:
    with pytest.raises(UserError, match=r"VOLTA has the embeddings of lxmert, .*, xuniter, uc2 and vl-bert"):
        small_volta("vilbert", embedding="oscar")
    with pytest.raises(UserError, match=r"uniter embeds text and regions alike, .* the text has 16 and the regions 24"):
        small_volta("vilbert", embedding="uniter", region_states=24, schedule="tt+vv t+v")
    with pytest.raises(UserError, match="sub-layer 0 has no size 'depth'; it has width, num_heads, ffn_dim"):
        small_volta("vilbert", own_sizes={"0": {"depth": 3}})
    for embedding, rows in (("uniter", 2), ("visualbert", 2), ("vl-bert", 3)):
        with pytest.raises(UserError, match=f"row {rows - 1} of the segments, so num_segments must be at least {rows}"):
            small_volta(embedding, num_segments=rows - 1)


def test_a_fine_tuned_file_fills_the_head_that_is_asked_for(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "ctrl_uniter" / "weights.safetensors")
    tuned = {name: x for name, x in weights.items() if not name.startswith("cls.")}
    shapes = {"0": (48, 40), "2": (48,), "3": (2, 48)}
    tuned |= {f"clfs_dict.TASK12.logit_fc.{n}.weight": torch.randn(shape) for n, shape in shapes.items()}
    tuned |= {f"clfs_dict.TASK12.logit_fc.{n}.bias": torch.randn(shape[0]) for n, shape in shapes.items()}
    save_file(tuned, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text((GOLDEN / "ctrl_uniter" / "config.json").read_text())
    system = mm_kptm.load("volta-uniter", tmp_path, heads={"nlvr2": {"inner_dim": 48}})
    assert system.head("nlvr2")(torch.randn(4, 20)).shape == (2, 2)
    with pytest.raises(UnmappedKeys, match=r"other shapes than this model has: heads\.vqa"):
        mm_kptm.load("volta-uniter", tmp_path)


def test_a_head_with_two_layers_scores_regions() -> None:
    system = small_volta("lxmert", heads={"grounding": {"num_layers": 2}})
    assert system.head("grounding")(torch.randn(5, 16)).shape == (5, 1)
    with pytest.raises(UserError, match="the head grounding has 1 or 2 layers, not 3"):
        small_volta("lxmert", heads={"grounding": {"num_layers": 3}})


@torch.no_grad()
def test_words_of_vl_bert_see_the_last_region_if_there_is_no_empty_slot() -> None:
    """With five slots only the image of four regions and the whole fills the last one."""
    inputs = three_texts()
    for slots, changes in ((0, [True, True, True]), (5, [False, True, False]), (37, [False, False, False])):
        system = small_volta("vl-bert", num_slots=slots)
        regions = inputs.regions
        means = torch.stack([rows.mean(0) for rows in regions.layout.split(regions.features)])
        features = regions.features.clone()
        features[[1, 5, 8]] += 1.0  # the last region of every image
        before, after = (
            next(
                iter(system.hidden_states(inputs.with_streams(regions=replace(regions, features=x, whole_image=means))))
            ).left
            for x in (regions.features, features)
        )
        moved = [
            not torch.allclose(ours, theirs, atol=1e-5)
            for ours, theirs in zip(before.layout.split(before.x), after.layout.split(after.x), strict=True)
        ]
        assert moved == changes, slots


@torch.no_grad()
def test_a_region_of_vl_bert_without_a_feature_shows_the_mask() -> None:
    system, inputs = small_volta("vl-bert", masks_words=True), three_texts()
    regions = inputs.regions
    system.encoder.embed.regions.mask.fill_(0.7)
    masked = torch.zeros(9, dtype=torch.bool)
    masked[3] = True
    means = torch.stack([rows.mean(0) for rows in regions.layout.split(regions.features)])
    flagged = replace(regions, masked=masked, whole_image=means)
    zeroed = replace(regions, features=regions.features.masked_fill(masked[:, None], 0.0), whole_image=means)
    ours, theirs = (system(inputs.with_streams(regions=part)).regions for part in (flagged, zeroed))
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, system(inputs).regions, atol=1e-4)


def test_regions_of_vl_bert_that_stand_too_far_behind_are_refused() -> None:
    system, inputs = small_volta("vl-bert", max_positions=6), three_texts()
    with pytest.raises(UserError, match="the regions stand at position 7, behind the text, but the model has 6"):
        system(inputs)
