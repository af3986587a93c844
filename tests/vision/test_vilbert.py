"""ViLBERT and 12-in-1: sizes, checkpoints, tasks in the text, guided layers, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.batch import Regions, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.systems.pretrained import translated
from tests.vision.small import small_vilbert, three_texts

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "vilbert"
HEADS = ["masked-tokens", "image-text-matching", "masked-regions"]


def changed(case: str, folder: Path, **fields: Any) -> Path:
    """The checkpoint of a case with other fields in its configuration."""
    save_file(load_file(GOLDEN / case / "weights.safetensors"), folder / "weights.safetensors")
    config = json.loads((GOLDEN / case / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_published_sizes() -> None:
    """The widths and depths of the released base model, part by part."""
    recipe = mm_kptm.catalogue()["vilbert-base"]
    with torch.device("meta"):
        encoder = recipe.build(**recipe.published_sizes())
    text_feed = 768 * 3072 + 3072 + 3072 * 768 + 768 + 2 * 768
    region_feed = 2 * (1024 * 1024 + 1024) + 2 * 1024
    text = 4 * (768 * 768 + 768) + 2 * 768 + text_feed
    region = 4 * (1024 * 1024 + 1024) + 2 * 1024 + region_feed
    cross = 3 * (768 * 1024 + 1024) + 3 * (1024 * 1024 + 1024)  # queries, keys and values of both
    cross += (1024 * 768 + 768) + 2 * 768 + text_feed + (1024 * 1024 + 1024) + 2 * 1024 + region_feed
    embedded = (30522 + 512 + 2) * 768 + 2 * 768 + (2048 + 1 + 5 + 1) * 1024 + 2 * 1024
    pooled = (768 + 1) * 1024 + (1024 + 1) * 1024
    total = 12 * text + 6 * region + 6 * cross + embedded + pooled
    assert sum(parameter.numel() for parameter in encoder.parameters()) == total


def test_the_order_of_the_released_model() -> None:
    """The first co-attention meets regions that no layer has read."""
    recipe = mm_kptm.catalogue()["vilbert-base"]
    with torch.device("meta"):
        names = list(recipe.build(**recipe.published_sizes()).steps)
    assert names[:9] == [*(f"text-{i}" for i in range(6)), "cross-0", "text-6", "regions-0"]
    assert names[-4:] == ["regions-4", "cross-5", "regions-5", "text-11"]


def test_every_published_key_is_placed() -> None:
    for case in ("pretrain", "pretrain_dynamic", "pretrain_featreg_sum", "vl_tasks"):
        translation = translated("vilbert", GOLDEN / case)
        assert translation.strangers == []
        unused = {name for name in translation.left if ".biOutput.q_dense" in name}
        assert set(translation.left) - unused <= {"cls.predictions.decoder.weight"}


def test_the_released_names_load_whatever_trainer_wrote_them(tmp_path: Path) -> None:
    state = {f"module.{name}": x for name, x in load_file(GOLDEN / "pretrain" / "weights.safetensors").items()}
    torch.save({"model_state_dict": state, "global_step": 3}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((GOLDEN / "pretrain" / "config.json").read_text())
    heads = {**{name: {} for name in HEADS}, "masked-regions": {"num_classes": 11}}
    ours, theirs = (mm_kptm.load("vilbert", folder, heads=heads) for folder in (tmp_path, GOLDEN / "pretrain"))
    assert all(torch.equal(x, y) for x, y in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_an_official_configuration_decides_where_streams_meet(tmp_path: Path) -> None:
    folder = changed("pretrain", tmp_path, t_biattention_id=[0, 4], v_biattention_id=[1, 2])
    system = mm_kptm.load("vilbert", folder, heads=[])
    names = ["regions-0", "cross-0", "text-0", "text-1", "text-2", "text-3", "regions-1", "cross-1"]
    assert list(system.encoder.steps) == names


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"with_coattention": False},
            "asks for with_coattention false, which is not built; two encoders",
        ),
        ({"in_batch_pairs": True}, "asks for in_batch_pairs, which is not built; give every pair of the batch"),
        ({"fixed_t_layer": 6}, "asks for fixed_t_layer 6, which is not built; set it to 0"),
        ({"fixed_v_layer": 2}, "asks for fixed_v_layer 2, which is not built; set it to 0"),
        ({"model": "roberta"}, r"asks for a text stream of RoBERTa \(model\), which is not built"),
        ({"bi_attention_type": 2}, "asks for bi_attention_type 2, which is not built; the released models have 1"),
        ({"fusion_method": "max"}, "text and image are pooled by mul, sum or text, not by 'max'"),
        (
            {"t_biattention_id": [3, 2]},
            "2 co-attentions among 4 layers of text stand at 2 places from 0 to 4 in",
        ),
        ({"v_biattention_id": [0, 3]}, "2 co-attentions among 2 layers of regions stand at 2 places from 0 to 2"),
        ({"v_biattention_id": [0]}, "2 co-attentions among 2 layers of regions stand at 2 places .* not at 0"),
    ],
)
def test_a_configuration_that_asks_for_what_is_not_built_is_refused(
    fields: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        mm_kptm.load("vilbert", changed("pretrain", tmp_path, **fields), heads=[])


def test_the_target_of_regions_is_one_of_three() -> None:
    with pytest.raises(UserError, match="nothing called 'objects' is predicted of regions; there are distri"):
        small_vilbert(heads={"masked-regions": {"target": "objects"}})


@torch.no_grad()
def test_a_match_is_class_1_whatever_the_file_calls_it() -> None:
    system = small_vilbert()
    head, pooled = system.head("image-text-matching"), torch.randn(3, 8)
    published = torch.nn.functional.linear(pooled, head.weight, head.bias)  # column 0: matched
    torch.testing.assert_close(head(pooled)[:, 1], published[:, 0])


@torch.no_grad()
def test_the_task_is_heard_and_moves_no_word() -> None:
    """Another task changes the states; the embedded words are those of the model without tasks."""
    system, inputs = small_vilbert("12-in-1"), three_texts()
    tasks = torch.tensor([4, 4, 4, 1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 9])
    asked = inputs.with_streams(text=replace(inputs.text, tasks=tasks))
    first = next(iter(system.hidden_states(asked)))
    words = system.encoder.embed.text(inputs.text)
    assert first.left.layout.lengths == (4, 6, 7)
    torch.testing.assert_close(first.left.x[[0, 2, 3]], words[:3])
    torch.testing.assert_close(first.left.x[5], system.encoder.embed.text.norm(system.encoder.embed.task.weight[1]))
    other = inputs.with_streams(text=replace(inputs.text, tasks=torch.where(tasks == 1, 2, tasks)))
    ours, theirs = system(asked), system(other)
    torch.testing.assert_close(ours.pooled[[0, 2]], theirs.pooled[[0, 2]], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(ours.text[3:8], theirs.text[3:8], atol=1e-4)
    unasked = inputs.with_streams(text=replace(inputs.text, tasks=torch.zeros_like(tasks)))
    torch.testing.assert_close(system(inputs).text, system(unasked).text)


def test_a_task_that_the_model_does_not_know_is_refused() -> None:
    system, inputs = small_vilbert("12-in-1"), three_texts()
    text = replace(inputs.text, tasks=torch.full_like(inputs.text.ids, 20))
    with pytest.raises(UserError, match="a text is asked task 20, but the model has 20 tasks; build it with num_"):
        system(inputs.with_streams(text=text))


def test_features_of_whole_images_must_be_one_each() -> None:
    system, inputs = small_vilbert(), three_texts()
    regions = replace(inputs.regions, whole_image=inputs.regions.features[:2])
    with pytest.raises(UserError, match="there are 3 images, but 2 features of whole images"):
        system(inputs.with_streams(regions=regions))


@torch.no_grad()
def test_an_image_without_regions_is_seen_as_a_whole_where_its_feature_is_given() -> None:
    """As in the released loaders, whose first row is always real; without regions or feature there is no image."""
    system, inputs = small_vilbert(), three_texts()
    regions, lengths = inputs.regions, inputs.regions.layout.lengths
    wholes = torch.randn(3, regions.features.shape[1])
    some = slice(lengths[0], lengths[0] + lengths[1])  # of the second image
    kept = torch.ones(len(regions.features), dtype=torch.bool)
    kept[some] = False
    bare = Regions(
        regions.features[kept], regions.boxes[kept], SequenceLayout((lengths[0], 0, lengths[2])), whole_image=wholes
    )
    stream = next(iter(system.hidden_states(inputs.with_streams(regions=bare)))).right
    assert stream.layout.lengths == (lengths[0] + 1, 1, lengths[2] + 1)
    frame = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    alone = system.encoder.embed.regions(Regions(wholes[1:2], frame, SequenceLayout((1,))))
    torch.testing.assert_close(stream.x[lengths[0] + 1 : lengths[0] + 2], alone)
    unseen = replace(bare, whole_image=None)
    ours, theirs = (system(inputs.with_streams(regions=one)).pooled for one in (bare, unseen))
    assert not torch.allclose(ours[1], theirs[1], atol=1e-3)


@torch.no_grad()
def test_the_text_guides_the_regions_before_they_meet() -> None:
    """Guided, the first layer of regions depends on the text of its own example; not guided, on no text."""
    for guided in (True, False):
        system, inputs = small_vilbert(guided=guided, cross_regions=[1, 2]), three_texts()
        text = replace(inputs.text, ids=inputs.text.ids.clone())
        text.ids[4] = 30
        place = list(system.encoder.steps).index("regions-0") + 1
        ours, theirs = (
            list(system.hidden_states(inputs.with_streams(text=t)))[place].right.x for t in (inputs.text, text)
        )
        assert torch.equal(ours[:3], theirs[:3]) and torch.equal(ours[8:], theirs[8:])
        assert torch.allclose(ours[3:8], theirs[3:8], atol=1e-5) != guided


def test_heads_have_the_activation_of_the_text_whatever_stream_comes_first(tmp_path: Path) -> None:
    """The released heads take ``hidden_act``; here the regions, which have another, are read first."""
    folder = changed("pretrain", tmp_path, v_hidden_act="relu", t_biattention_id=[0, 3], v_biattention_id=[1, 2])
    system = mm_kptm.load("vilbert", folder, heads={"masked-tokens": {}, "masked-regions": {"num_classes": 11}})
    assert next(iter(system.encoder.steps)) == "regions-0"
    x = torch.linspace(-2, 2, 9)
    for name in ("masked-tokens", "masked-regions"):
        torch.testing.assert_close(system.head(name).transform.activation(x), torch.nn.functional.gelu(x))
